//! The signatures providers put on their callbacks, compared in constant time.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What providers make their signatures with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The HMAC of these bytes; a key may have any length.
pub fn hmac(hash: Hash, key: &str, bytes: &[u8]) -> Vec<u8> {
    fn mac<M: Mac + KeyInit>(key: &str, bytes: &[u8]) -> Vec<u8> {
        let mut mac = <M as Mac>::new_from_slice(key.as_bytes()).expect("any length is a key");
        mac.update(bytes);
        mac.finalize().into_bytes().to_vec()
    }
    match hash {
        Hash::Md5 => mac::<Hmac<md5::Md5>>(key, bytes),
        Hash::Sha1 => mac::<Hmac<sha1::Sha1>>(key, bytes),
        Hash::Sha224 => mac::<Hmac<sha2::Sha224>>(key, bytes),
        Hash::Sha256 => mac::<Hmac<Sha256>>(key, bytes),
        Hash::Sha384 => mac::<Hmac<sha2::Sha384>>(key, bytes),
        Hash::Sha512 => mac::<Hmac<sha2::Sha512>>(key, bytes),
    }
}

/// Lower-case hex of HMAC-SHA256.
pub fn hmac_sha256_hex(key: &str, bytes: &[u8]) -> String {
    hex(&hmac(Hash::Sha256, key, bytes))
}

/// Lower-case hex of SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether two texts are the same, in a time that does not tell how much of them is.
pub fn same(given: &str, wanted: &str) -> bool {
    given.as_bytes().ct_eq(wanted.as_bytes()).into()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
