//! Passwords: the policy and the hash (argon2id, 19 MiB, 2 passes, 1 lane; promises.md, "Access").
//! Hashing is deliberately slow, so callers bound how many run at once.

use crate::error::{Error, Result};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

/// A password has at least this many characters.
pub const MIN_CHARS: usize = 8;
/// A password has at most this many bytes: enough for any passphrase, too few to burn time on.
pub const MAX_BYTES: usize = 512;
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The commonest passwords of at least [`MIN_CHARS`] characters, one a line, by published frequency.
const COMMON: &str = include_str!("password_common.txt");

fn hasher() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|e| Error::internal(anyhow::anyhow!("argon2 parameters: {e}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Whether a new password may be used.
///
/// # Errors
/// Names the field `password` and what to change.
pub fn check(password: &str) -> Result<()> {
    let refuse = |code, detail: String| Err(Error::field("/password", code, detail));
    if password.chars().count() < MIN_CHARS {
        return refuse(
            "too_short",
            format!("A password needs at least {MIN_CHARS} characters."),
        );
    }
    if password.len() > MAX_BYTES {
        return refuse(
            "too_long",
            format!("A password has at most {MAX_BYTES} bytes."),
        );
    }
    let lowered = password.to_lowercase();
    if COMMON.lines().any(|common| common == lowered) {
        return refuse(
            "too_common",
            "This is one of the first passwords that anyone would try; choose another.".to_owned(),
        );
    }
    Ok(())
}

/// The PHC string to keep.
///
/// # Errors
/// When the system has no randomness to give.
pub fn hash(password: &str) -> Result<String> {
    let hash: PasswordHash = hasher()?
        .hash_password(password.as_bytes())
        .map_err(|e| Error::internal(anyhow::anyhow!("hashing a password: {e}")))?;
    Ok(hash.to_string())
}

/// Whether `password` is the one behind `phc`.
pub fn verify(password: &str, phc: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(phc) else {
        return false;
    };
    hasher().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_verifies() {
        let phc = hash("correct horse battery").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify("correct horse battery", &phc));
        assert!(!verify("correct horse batterz", &phc));
        assert!(!verify("", &phc));
        assert!(!verify("x", "not a hash"));
    }

    #[test]
    fn short_endless_and_common_passwords_are_refused() {
        assert_eq!(check("seven77").unwrap_err().code(), "too_short");
        assert_eq!(check(&"x".repeat(513)).unwrap_err().code(), "too_long");
        assert_eq!(check("Password123").unwrap_err().code(), "too_common");
        assert!(check("pillar box red").is_ok());
        assert!(check(&"ü".repeat(200)).is_ok());
    }
}
