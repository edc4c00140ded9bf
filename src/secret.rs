//! Secrets: how they are made, hashed and sealed. API keys and session tokens are random and kept
//! as SHA-256 only; what must be read again (webhook and identity secrets) is sealed with a key
//! that lies in a file beside the database (promises.md, "Access").

use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of a token, an API key or a webhook secret: 256 bits.
const SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// What every API key begins with, so that leak scanners can know it.
pub const API_KEY_PREFIX: &str = "pbk_";
/// How much of an API key is kept in the clear, to recognise it by.
const API_KEY_SHOWN_CHARS: usize = 10;
/// What every webhook secret begins with.
pub const WEBHOOK_SECRET_PREFIX: &str = "whsec_";

/// The SHA-256 of a token: what the file holds.
pub type TokenHash = [u8; 32];

/// Fills `N` bytes from the system's generator.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::internal(anyhow::anyhow!("system randomness: {e}")))?;
    Ok(bytes)
}

/// A random URL-safe token of 256 bits.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random_token() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<SECRET_BYTES>()?))
}

/// The hash under which a token is kept and looked up.
pub fn hash_token(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// A new API key: the whole, to be shown once, and what is kept.
#[derive(Debug)]
pub struct NewApiKey {
    /// The whole key.
    pub key: String,
    /// Its beginning, to recognise it by.
    pub prefix: String,
    /// Its hash.
    pub hash: TokenHash,
}

/// Makes an API key.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new_api_key() -> Result<NewApiKey> {
    let key = format!("{API_KEY_PREFIX}{}", random_token()?);
    Ok(NewApiKey {
        prefix: key.chars().take(API_KEY_SHOWN_CHARS).collect(),
        hash: hash_token(&key),
        key,
    })
}

/// A secret that others sign with; never printed, wiped when it is dropped.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

impl SecretBytes {
    /// Wraps the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A webhook's signing secret.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl WebhookSecret {
    /// A new one of 32 random bytes.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self> {
        Ok(Self(Zeroizing::new(
            random_bytes::<SECRET_BYTES>()?.to_vec(),
        )))
    }

    /// Wraps the key's bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As people copy it: `whsec_` and base64 (Standard Webhooks).
    pub fn reveal(&self) -> String {
        format!(
            "{WEBHOOK_SECRET_PREFIX}{}",
            STANDARD.encode(self.0.as_slice())
        )
    }
}

/// Seals and opens secrets with the key file's key (XChaCha20-Poly1305, the row's id bound in).
#[derive(Clone)]
pub struct Vault(XChaCha20Poly1305);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// A vault with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Seals `secret` so that it opens only for the row `bound_to`.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn seal(&self, bound_to: i64, secret: &[u8]) -> Result<Vec<u8>> {
        let nonce = random_bytes::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: secret,
            aad: &bound_to.to_be_bytes(),
        };
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::internal(anyhow::anyhow!("sealing a secret failed")))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Vault::seal`] made for the row `bound_to`.
    ///
    /// # Errors
    /// When it was sealed with another key or for another row, or was changed.
    pub fn open(&self, bound_to: i64, sealed: &[u8]) -> Result<Vec<u8>> {
        let wrong = || {
            Error::internal(anyhow::anyhow!(
                "a secret in the file does not open: the key file beside it is not the one it was sealed with"
            ))
        };
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(wrong)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| wrong())?;
        let payload = Payload {
            msg: ciphertext,
            aad: &bound_to.to_be_bytes(),
        };
        self.0
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_for_its_row_and_key() {
        let vault = Vault::new(&[7; 32]);
        let sealed = vault.seal(1, b"quiet").unwrap();
        assert_eq!(vault.open(1, &sealed).unwrap(), b"quiet");
        assert!(vault.open(2, &sealed).is_err());
        assert!(Vault::new(&[8; 32]).open(1, &sealed).is_err());
        assert!(vault.open(1, &sealed[..10]).is_err());
        assert!(!sealed.windows(5).any(|window| window == b"quiet"));
    }

    #[test]
    fn api_keys_are_long_and_known_by_their_beginning() {
        let new = new_api_key().unwrap();
        assert!(new.key.len() >= 40 && new.key.starts_with(API_KEY_PREFIX));
        assert!(new.key.starts_with(&new.prefix) && new.prefix.len() == 10);
        assert_eq!(new.hash, hash_token(&new.key));
    }
}
