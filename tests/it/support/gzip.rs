//! gzip by hand, so that the box's decoder is tested against another encoder: stored blocks for
//! honest bodies, one long run for bodies that grow a thousandfold.

/// `body` as a gzip file of stored blocks.
pub(crate) fn stored(body: &[u8]) -> Vec<u8> {
    let mut deflate = Vec::new();
    let mut chunks = body.chunks(65_535).peekable();
    if chunks.peek().is_none() {
        deflate.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(chunk) = chunks.next() {
        let len = u16::try_from(chunk.len()).unwrap();
        deflate.push(u8::from(chunks.peek().is_none()));
        deflate.extend(len.to_le_bytes());
        deflate.extend((!len).to_le_bytes());
        deflate.extend(chunk);
    }
    file(&deflate, body)
}

/// A gzip file of `len` times the letter `letter`, at about 160 bytes to one bit and a half.
pub(crate) fn run_of(letter: u8, len: usize) -> (Vec<u8>, Vec<u8>) {
    const MATCH: usize = 258;
    assert!(letter < 144, "longer codes are not needed");
    let len = 1 + (len.saturating_sub(1)).div_ceil(MATCH) * MATCH;
    let mut bits = Bits::default();
    bits.number(1, 1); // the last block
    bits.number(1, 2); // fixed codes
    bits.code(u32::from(letter) + 0x30, 8);
    for _ in 0..(len - 1) / MATCH {
        bits.code(0b1100_0101, 8); // length 258
        bits.code(0, 5); // distance 1
    }
    bits.code(0, 7); // the end
    let body = vec![letter; len];
    (file(&bits.bytes, &body), body)
}

fn file(deflate: &[u8], body: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend(deflate);
    file.extend(crc32(body).to_le_bytes());
    file.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    file
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn bit(&mut self, bit: bool) {
        if self.used.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (self.used % 8);
        }
        self.used += 1;
    }

    /// Numbers go in with their lowest bit first.
    fn number(&mut self, value: u32, len: u32) {
        (0..len).for_each(|at| self.bit(value >> at & 1 == 1));
    }

    /// Huffman codes go in with their highest bit first.
    fn code(&mut self, value: u32, len: u32) {
        (0..len).rev().for_each(|at| self.bit(value >> at & 1 == 1));
    }
}

fn crc32(body: &[u8]) -> u32 {
    !body.iter().fold(!0u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
        crc
    })
}

#[test]
fn the_encoder_writes_what_gunzip_reads() {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};
    let (bomb, whole) = run_of(b'a', 100_000);
    assert!(bomb.len() < 1_000);
    for (file, body) in [(stored(b"{\"a\":1}"), b"{\"a\":1}".to_vec()), (bomb, whole)] {
        let mut child = Command::new("gzip")
            .args(["-d", "-c"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&file).unwrap();
        let mut read = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut read).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(read == body, "{} bytes came back", read.len());
    }
}
