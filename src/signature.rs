//! Signatures. What leaves: Standard Webhooks 1.0.0, `v1,` and base64 of HMAC-SHA256, or `v1a,` and base64 of
//! Ed25519, over `{id}.{timestamp}.{body}`. What arrives: hex HMAC-SHA256, compared in constant time.

use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::Sha256;

/// What every public key begins with (Standard Webhooks, "Asymmetric signatures").
pub const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// A keyed signer: the key is expanded once, and used for every attempt.
pub enum Signer {
    /// `v1`: HMAC-SHA256.
    Hmac(Hmac<Sha256>),
    /// `v1a`: Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// Signs with the secret's decoded bytes.
    ///
    /// # Errors
    /// HMAC takes a key of any length, so never in practice.
    pub fn hmac(key: &[u8]) -> Result<Self> {
        let mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
        Ok(Self::Hmac(mac))
    }

    /// Signs with the key pair of a seed.
    ///
    /// # Errors
    /// When the seed has not 32 bytes.
    pub fn ed25519(seed: &[u8]) -> Result<Self> {
        Ok(Self::Ed25519(Box::new(key_pair(seed)?)))
    }

    /// The signature, with its version before it, of the message `id` sent at `timestamp_s` (Unix seconds).
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let timestamp = timestamp_s.to_string();
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        match self {
            Self::Hmac(expanded) => {
                let mut mac = expanded.clone();
                parts.iter().for_each(|part| mac.update(part));
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            }
            Self::Ed25519(pair) => {
                format!("v1a,{}", STANDARD.encode(pair.sign(&parts.concat())))
            }
        }
    }
}

/// The public key of an Ed25519 seed, as people copy it: `whpk_` and base64.
///
/// # Errors
/// When the seed has not 32 bytes.
pub fn public_key(seed: &[u8]) -> Result<String> {
    let pair = key_pair(seed)?;
    let encoded = STANDARD.encode(pair.public_key());
    Ok(format!("{PUBLIC_KEY_PREFIX}{encoded}"))
}

fn key_pair(seed: &[u8]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|e| Error::internal(anyhow::anyhow!("an Ed25519 seed is no key: {e}")))
}

/// Whether `hex` is the lower-case hex HMAC-SHA256 of the `parts`, one behind the other, under `key`:
/// how browsers prove who they are (wire.md, "Churnkey") and Stripe signs ("Stripe").
pub fn is_hex_hmac(key: &[u8], parts: &[&[u8]], hex: &str) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return false;
    };
    for part in parts {
        mac.update(part);
    }
    let Some(claimed) = from_hex(hex) else {
        return false;
    };
    mac.verify_slice(&claimed).is_ok()
}

/// The 32 bytes that 64 lower-case hex digits stand for.
fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example in the Standard Webhooks reference implementations.
    #[test]
    fn the_published_vector_comes_out() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = Signer::hmac(&key).unwrap().sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_official_verifier_takes_what_is_fresh_and_refuses_what_is_six_minutes_old() {
        let now_s = crate::time::now_ms() / 1_000;
        let secret = STANDARD.encode([7; 32]);
        let verifier = standardwebhooks::Webhook::new(&secret).unwrap();
        let signer = Signer::hmac(&[7; 32]).unwrap();
        let is_taken = |timestamp_s: i64| {
            let mut headers = hyper::HeaderMap::new();
            headers.insert("webhook-id", "msg_1".parse().unwrap());
            headers.insert("webhook-timestamp", timestamp_s.into());
            let signature = signer.sign("msg_1", timestamp_s, b"{}");
            headers.insert("webhook-signature", signature.parse().unwrap());
            verifier.verify(b"{}", &headers).is_ok()
        };
        assert!(is_taken(now_s) && is_taken(now_s - 240));
        assert!(!is_taken(now_s - 360) && !is_taken(now_s + 360));
    }

    /// The vector of the asymmetric scheme that implementations of Standard Webhooks share.
    #[test]
    fn the_published_asymmetric_vector_comes_out() {
        let seed = STANDARD
            .decode("6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=")
            .unwrap();
        let signature = Signer::ed25519(&seed).unwrap().sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature,
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
        assert_eq!(
            public_key(&seed).unwrap(),
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
        );
    }

    #[test]
    fn a_seed_of_another_length_is_no_key() {
        assert!(Signer::ed25519(&[7; 31]).is_err());
        assert!(public_key(&[7; 64]).is_err());
    }

    /// Test case 2 of RFC 4231.
    #[test]
    fn a_hex_hmac_is_known_and_nothing_else_is() {
        let right = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let is_right =
            |hex: &str| is_hex_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"], hex);
        assert!(is_right(right));
        assert!(!is_right(&right.to_uppercase()));
        assert!(!is_right(&right[1..]));
        assert!(!is_right(&right.replace('5', "6")));
        assert!(!is_right(&format!("{}zz", &right[2..])));
    }
}
