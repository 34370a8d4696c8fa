//! Passwords, hashed by argon2id.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher, Error, PasswordVerifier};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Passwords that are hashed at once: each takes 19 MiB and a core for tens of milliseconds.
const AT_ONCE: usize = 2;

/// Blocks of a KiB for which a hash has room, though it uses 19 MiB. What is greater than 32 MiB gets a mapping of its own
/// from glibc, which goes back to the system when it is freed. A smaller one stays with the process from the second on
/// (`M_MMAP_THRESHOLD` in mallopt(3)), and the next does not fit into what it leaves, as it is to be aligned: 19 MiB more
/// with each hash, for ever. Pages that nobody writes to take no memory.
const ROOM: usize = 33 * 1024;

/// Bytes of a fresh salt.
const SALT: usize = 16;

/// Why a password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
    #[error("a password could not be hashed: {0}")]
    Argon2(password_hash::Error),
    #[error("a password's hashing died: {0}")]
    Died(tokio::task::JoinError),
}

/// Argon2id as the `argon2` crate has it, but for where its memory comes from.
struct Argon2id;

impl CustomizedPasswordHasher<PasswordHash> for Argon2id {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<password_hash::Version>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?.unwrap_or_default();
        let argon2 = Argon2::new(algorithm, version, params);
        let params = argon2.params();
        let mut memory = memory(params.block_count())?;
        let mut hash = [0; Output::MAX_LENGTH];
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let hash = hash.get_mut(..length).ok_or(Error::OutputSize)?;
        argon2.hash_password_into_with_memory(password, salt, hash, &mut memory)?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(params)?,
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(hash)?),
        })
    }
}

fn memory(blocks: usize) -> password_hash::Result<Vec<Block>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(blocks.max(ROOM)).map_err(|_| Error::OutOfMemory)?;
    memory.resize(blocks, Block::new());
    Ok(memory)
}

fn hash(password: &str) -> Result<String, HashError> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(HashError::Randomness)?;
    let hash = Argon2id.hash_password_with_params(password.as_bytes(), &salt, Params::DEFAULT);
    hash.map(|hash| hash.to_string()).map_err(HashError::Argon2)
}

fn is_right(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| Argon2id.verify_password(password.as_bytes(), &hash).is_ok())
}

/// Hashes and checks passwords on threads that may be kept busy, a few at a time; the others wait.
#[derive(Debug, Clone)]
pub(crate) struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    /// The PHC string of a password, with a fresh salt.
    pub(crate) async fn hash(&self, password: String) -> Result<String, HashError> {
        self.on_a_thread(move || hash(&password)).await?
    }

    /// Whether the password is the one of this PHC string.
    pub(crate) async fn is_right(&self, password: String, phc: String) -> Result<bool, HashError> {
        self.on_a_thread(move || is_right(&password, &phc)).await
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let permit = self.0.clone().acquire_owned().await;
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(HashError::Died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference implementation has made it, with the parameters that stand in records.
    const REFERENCE: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$pAWprX7QMP+Rhrd/uKv43B+s36Nec/7mfzikiTFVV9c";

    #[test]
    fn it_is_the_same_hash_as_everybodys() {
        let salt = b"0123456789abcdef";
        let made = Argon2id.hash_password_with_params("s3cret ü".as_bytes(), salt, Params::DEFAULT);
        assert_eq!(made.unwrap().to_string(), REFERENCE);
        assert!(is_right("s3cret ü", REFERENCE) && !is_right("s3cret u", REFERENCE));
        assert!(!is_right("s3cret ü", "$argon2id$v=19$m=19456,t=2,p=1"), "without a hash nothing is right");
    }

    #[test]
    fn each_has_a_salt_of_its_own_and_is_right_for_itself_alone() {
        let [one, other] = ["one", "one"].map(|password| hash(password).unwrap());
        assert_ne!(one, other);
        assert!(is_right("one", &one) && is_right("one", &other) && !is_right("", &one));
    }

    /// Of this process now, in MiB.
    #[cfg(target_os = "linux")]
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_was_hashed_leaves_no_memory_behind() {
        let (passwords, mut hashes) = (Passwords::default(), Vec::new());
        hashes.push(passwords.hash("before".to_owned()).await.unwrap());
        let before = resident();
        for number in 0..16 {
            hashes.push(passwords.hash(number.to_string()).await.unwrap());
        }
        let grown = resident().saturating_sub(before);
        // Sixteen of them are 304 MiB. Other tests of this program hash one or two at the same time.
        assert!(grown < 100, "{grown} MiB more after {} hashes", hashes.len());
    }
}
