//! The signatures providers put on their callbacks, compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Base64 of HMAC-SHA1.
pub fn hmac_sha1_base64(key: &str, text: &str) -> String {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// What a customer can choose for its callbacks at Infobip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Lower-case hex of an HMAC.
pub fn hmac_hex(hash: Hash, key: &str, bytes: &[u8]) -> String {
    macro_rules! over {
        ($digest:ty) => {{
            let mut mac = Hmac::<$digest>::new_from_slice(key.as_bytes()).expect("any length is a key");
            mac.update(bytes);
            hex(&mac.finalize().into_bytes())
        }};
    }
    match hash {
        Hash::Md5 => over!(md5::Md5),
        Hash::Sha1 => over!(sha1::Sha1),
        Hash::Sha224 => over!(sha2::Sha224),
        Hash::Sha256 => over!(Sha256),
        Hash::Sha384 => over!(sha2::Sha384),
        Hash::Sha512 => over!(sha2::Sha512),
    }
}

/// Lower-case hex of HMAC-SHA256.
pub fn hmac_sha256_hex(key: &str, bytes: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(bytes);
    hex(&mac.finalize().into_bytes())
}

/// HMAC by `sha1`, `sha256` or `sha512`.
pub fn hmac(algorithm: &str, key: &str, bytes: &[u8]) -> Vec<u8> {
    fn mac<M: Mac + hmac::digest::KeyInit>(key: &str, bytes: &[u8]) -> Vec<u8> {
        let mut mac = <M as Mac>::new_from_slice(key.as_bytes()).expect("any length is a key");
        mac.update(bytes);
        mac.finalize().into_bytes().to_vec()
    }
    match algorithm {
        "sha1" => mac::<Hmac<sha1::Sha1>>(key, bytes),
        "sha512" => mac::<Hmac<sha2::Sha512>>(key, bytes),
        _ => mac::<Hmac<Sha256>>(key, bytes),
    }
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
