//! What people paste into their receiver to be sure that a request is from the box: one snippet a language,
//! for each way to sign. Their texts are files of their own; tests run them on real requests.

use crate::webhook::Signing;

/// Code to paste.
#[derive(Debug, Clone, Copy)]
pub struct Verification {
    /// Its language.
    pub language: &'static str,
    /// What it is, in the middle of a sentence.
    pub what: &'static str,
    /// To the letter.
    pub text: &'static str,
}

/// The code that verifies what a webhook sends, by language. It takes the secret from the environment variable
/// `WEBHOOK_SECRET`, or the public key from `WEBHOOK_PUBLIC_KEY`, and refuses what is older than five
/// minutes. Without a secret it refuses everything: with an empty one anybody could sign.
pub fn verification(signing: Signing) -> [Verification; 5] {
    let texts = match signing {
        Signing::Hmac => [
            include_str!("verify/hmac.mjs"),
            include_str!("verify/hmac.py"),
            include_str!("verify/hmac.go"),
            include_str!("verify/hmac.php"),
            include_str!("verify/hmac.sh"),
        ],
        Signing::Ed25519 => [
            include_str!("verify/ed25519.mjs"),
            include_str!("verify/ed25519.py"),
            include_str!("verify/ed25519.go"),
            include_str!("verify/ed25519.php"),
            include_str!("verify/ed25519.sh"),
        ],
    };
    let [node, python, go, php, shell] = texts.map(str::trim_end);
    let snippet = |language, what, text| Verification {
        language,
        what,
        text,
    };
    [
        snippet("Node", "the verification in Node", node),
        snippet("Python", "the verification in Python", python),
        snippet("Go", "the verification in Go", go),
        snippet("PHP", "the verification in PHP", php),
        snippet("Shell", "the verification in a shell with openssl", shell),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_checks_time_and_signature_of_its_own_kind() {
        for signing in Signing::ALL {
            let (version, variable) = match signing {
                Signing::Hmac => ("v1", "WEBHOOK_SECRET"),
                Signing::Ed25519 => ("v1a", "WEBHOOK_PUBLIC_KEY"),
            };
            for snippet in verification(signing) {
                let text = snippet.text;
                assert!(text.contains(variable), "{text}");
                let quoted = ["'", "\"", "=", " "]
                    .iter()
                    .any(|before| text.contains(&format!("{before}{version}")));
                assert!(quoted, "{text}");
                assert!(
                    text.contains("300") || text.contains("5*time.Minute"),
                    "{text}"
                );
                assert!(text.lines().all(|line| line.len() <= 120), "{text}");
            }
        }
    }
}
