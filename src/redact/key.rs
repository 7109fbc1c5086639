//! The key of pseudonyms. In: bytes of a file, or random ones. Out: what makes pseudonyms.

use std::{fmt, fs, io::Read, path::Path};

use bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use rustix::rand::{GetRandomFlags, getrandom};

/// A secret. With the same key an address has the same pseudonym, in each output, on each machine. Who has it can test which address a
/// pseudonym stands for.
#[derive(Clone)]
pub struct Key(HmacEngine<sha256::Hash>);

impl Key {
    /// The fewest bytes of a key.
    pub const LEAST: usize = 16;
    /// The most bytes of a file with a key.
    const MOST: u64 = 4096;

    /// A key that nobody knows, for one run.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        let filled = getrandom(&mut bytes, GetRandomFlags::empty());
        assert_eq!(
            filled,
            Ok(bytes.len()),
            "the kernel gives so few random bytes at once, and waits until it has them"
        );
        Self::of(&bytes)
    }

    /// The bytes of a file, without white space at its end.
    ///
    /// # Errors
    /// A line that says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let cannot = |words: &dyn fmt::Display| format!("cannot read the key {}: {words}", path.display());
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(|error| cannot(&error))?;
        file.take(Self::MOST + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
        let bytes = bytes.trim_ascii_end();
        if bytes.len() as u64 > Self::MOST {
            return Err(cannot(&format_args!("it has more than {} bytes", Self::MOST)));
        }
        if bytes.len() < Self::LEAST {
            let least = Self::LEAST;
            return Err(cannot(&format_args!("it needs {least} bytes or more, such as `openssl rand -hex 32` gives")));
        }
        Ok(Self::of(bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        Self(HmacEngine::new(bytes))
    }

    /// HMAC-SHA-256 of these parts, each of which has a fixed length or comes last.
    pub(super) fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut engine = self.0.clone();
        parts.iter().for_each(|part| engine.input(part));
        Hmac::from_engine(engine).to_byte_array()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
