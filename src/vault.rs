//! Keys. A master key, from a file only its owner can read or from the environment, and what derives from it: the keyed
//! hash numbers are looked up by, the cipher they are stored under, token hashes and page nonces. Every key has an id
//! that stands on the rows made with it, so that keys rotate: new rows use the newest, look-ups try all.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as B64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::code;
use crate::domain::ledger::hex;
use crate::domain::phone::PhoneNumber;

type HmacSha256 = Hmac<Sha256>;

struct Key {
    id: i64,
    number_mac: HmacSha256,
    nonce_mac: HmacSha256,
    cipher: XChaCha20Poly1305,
}

pub struct Vault {
    /// Oldest first; the last one is used for new rows.
    keys: Vec<Key>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({} keys)", self.keys.len())
    }
}

/// A keyed hash of a number or of an external id, with the id of its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keyed {
    pub key_id: i64,
    pub mac: String,
}

/// Stands in place of a key's id beside the hash of a provider's user id, which is made with the oldest key.
pub const USER: i64 = -1;

/// What the hash of a ledger row begins with that was made with the key.
pub const SEALED: &str = "k:";

pub const KEY_VARIABLE: &str = "PERMESSO_KEY";

impl Vault {
    /// `text` holds one key a line, `id:base64 of 32 bytes`, newest last.
    pub fn parse(text: &str) -> Result<Vault> {
        let mut keys: Vec<Key> = Vec::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (id, secret) = line.split_once(':').context("a key line is `id:base64`")?;
            let id: i64 = id.trim().parse().context("a key id is a number")?;
            if id < 0 {
                bail!("a key id is 0 or more, this one is {id}");
            }
            let master = B64.decode(secret.trim().trim_end_matches('=')).ok().context("a key is base64")?;
            if master.len() != 32 {
                bail!("a key is 32 bytes long, this one is {}", master.len());
            }
            if keys.iter().any(|k| k.id == id) {
                bail!("key id {id} occurs twice");
            }
            keys.push(Key {
                id,
                number_mac: <HmacSha256 as Mac>::new_from_slice(&derive(&master, "number mac")).context("HMAC key")?,
                nonce_mac: <HmacSha256 as Mac>::new_from_slice(&derive(&master, "page nonce")).context("HMAC key")?,
                cipher: XChaCha20Poly1305::new(derive(&master, "number encryption").as_slice().into()),
            });
        }
        if keys.is_empty() {
            bail!("no key found");
        }
        Ok(Vault { keys })
    }

    /// Reads the environment's key, else the file's. Refuses a file that others can read.
    pub fn open(file: &Path) -> Result<Vault> {
        if let Ok(text) = std::env::var(KEY_VARIABLE) {
            return Vault::parse(&text).with_context(|| format!("in the environment variable {KEY_VARIABLE}"));
        }
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| {
            format!("cannot read the key file {name}; remedy: put your copy of it back, or set {KEY_VARIABLE}; for a new database `permesso init` makes one")
        })?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(file)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                bail!("the key file {name} can be read by others (mode {mode:o}); remedy: chmod 600 {name}");
            }
        }
        Vault::parse(&text).with_context(|| format!("in the key file {name}"))
    }

    /// Writes a new key file, mode 0600. Never overwrites one: what it opened would be lost.
    pub fn create(file: &Path) -> Result<()> {
        use std::io::Write;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = options.open(file).with_context(|| format!("cannot create the key file {}", file.display()))?;
        writeln!(out, "# Permesso's master key. Whoever has it can read every number; without it nobody can. Back it up apart")?;
        writeln!(out, "# from the database. To rotate, add a line with a new id below; never remove a line.")?;
        writeln!(out, "1:{}", B64.encode(random::<32>()))?;
        out.sync_all()?;
        Ok(())
    }

    fn newest(&self) -> &Key {
        &self.keys[self.keys.len() - 1]
    }

    pub fn key_id(&self) -> i64 {
        self.newest().id
    }

    /// The number under the newest key: for new rows.
    pub fn keyed(&self, number: &PhoneNumber) -> Keyed {
        mac_of(self.newest(), "number", number.e164())
    }

    /// The number under every key: for look-ups.
    pub fn keyed_all(&self, number: &PhoneNumber) -> Vec<Keyed> {
        self.keys.iter().map(|k| mac_of(k, "number", number.e164())).collect()
    }

    /// As [`Vault::keyed_all`], of a number as it is stored.
    ///
    /// # Errors
    /// It does not open, as the empty text that stands in place of an erased one.
    pub fn keyed_of(&self, number_enc: &str) -> Result<Vec<Keyed>> {
        Ok(self.keyed_all(&self.decrypt_number(number_enc)?))
    }

    /// An external id under the oldest key, which never goes: ids must stay comparable when keys rotate.
    pub fn human(&self, external_id: &str) -> String {
        mac_of(&self.keys[0], "human", external_id).mac
    }

    /// The id by which WhatsApp knows a user to this company, whatever provider tells it: one more hash that a contact is known by. Under
    /// the oldest key, as [`Vault::human`].
    pub fn user(&self, id: &str) -> Keyed {
        Keyed { key_id: USER, mac: self.fingerprint("whatsapp user", id) }
    }

    /// Keyed hash of any text that must be compared but not kept (an imported row, a reply).
    pub fn fingerprint(&self, what: &str, text: &str) -> String {
        mac_of(&self.keys[0], what, text).mac
    }

    /// All that is kept of a one-time code: its keyed hash, bound to the message that carries it.
    pub fn code_mac(&self, message: i64, code: &str) -> String {
        self.fingerprint("code", &format!("{message}\n{code}"))
    }

    pub fn is_code(&self, message: i64, typed: &str, mac: &str) -> bool {
        same(&self.code_mac(message, typed), mac)
    }

    /// What shows that whoever has it typed the code of this message on this page.
    pub fn ticket(&self, token_hash: &str, message: i64) -> String {
        self.fingerprint("data ticket", &format!("{token_hash}\n{message}"))
    }

    pub fn is_ticket(&self, token_hash: &str, message: i64, given: &str) -> bool {
        same(&self.ticket(token_hash, message), given)
    }

    /// Shows that a choice on a form, as it is written, passed through our hands.
    pub fn intake_seal(&self, consent: &str) -> String {
        self.fingerprint("intake consent", consent)
    }

    /// The token of the page on which a choice made on a form can be changed: always the same for one choice, so that whoever types the code
    /// again is shown the same link. `nonce` is the choice's own.
    pub fn intake_page(&self, nonce: &str) -> String {
        let mut mac = self.keys[0].number_mac.clone();
        mac.update(b"intake page\n");
        mac.update(nonce.as_bytes());
        let digest = mac.finalize().into_bytes();
        base58(std::array::from_fn::<u8, 17, _>(|at| digest[at]), 22)
    }

    pub fn is_intake_seal(&self, consent: &str, given: &str) -> bool {
        same(&self.intake_seal(consent), given)
    }

    /// By what a database knows each key again: its id, and a hash that only it makes.
    pub fn proofs(&self) -> Vec<(i64, String)> {
        self.keys.iter().map(|k| (k.id, mac_of(k, "proof", "the key of this database").mac)).collect()
    }

    /// The hash of a new ledger row, keyed, so that whoever can write to the database alone cannot make one. 0.1 wrote rows without.
    pub fn row_seal(&self, row_hash: &str) -> String {
        format!("{SEALED}{}", self.fingerprint("ledger row", row_hash))
    }

    /// The seal over the end of a subject's chain: how many entries it has, and the last one's hash.
    pub fn head_seal(&self, controller: &str, subject: &str, entries: i64, hash: &str) -> String {
        self.fingerprint("ledger head", &format!("{controller}\n{subject}\n{entries}\n{hash}"))
    }

    pub fn encrypt(&self, what: &str, plain: &str) -> Result<String> {
        let nonce = random::<24>();
        let key = self.newest();
        let sealed = key
            .cipher
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: plain.as_bytes(), aad: what.as_bytes() })
            .map_err(|_| anyhow::anyhow!("encryption failed"))?;
        Ok(format!("{}:{}", key.id, B64.encode([&nonce[..], &sealed].concat())))
    }

    pub fn decrypt(&self, what: &str, stored: &str) -> Result<String> {
        let (id, data) = stored.split_once(':').context("an encrypted value has no key id")?;
        let id: i64 = id.parse().context("an encrypted value has no key id")?;
        let key = self
            .keys
            .iter()
            .find(|k| k.id == id)
            .with_context(|| format!("key {id} is missing from the key file; remedy: add the line that was removed"))?;
        let data = B64.decode(data).context("an encrypted value is damaged")?;
        if data.len() < 24 {
            bail!("an encrypted value is damaged");
        }
        let plain = key
            .cipher
            .decrypt(XNonce::from_slice(&data[..24]), Payload { msg: &data[24..], aad: what.as_bytes() })
            .map_err(|_| anyhow::anyhow!("an encrypted value does not open with key {id}: another key file, or damage"))?;
        String::from_utf8(plain).context("an encrypted value is damaged")
    }

    pub fn encrypt_number(&self, number: &PhoneNumber) -> Result<String> {
        self.encrypt("number", number.e164())
    }

    pub fn decrypt_number(&self, stored: &str) -> Result<PhoneNumber> {
        Ok(PhoneNumber::from_e164_trusted(self.decrypt("number", stored)?))
    }

    /// Stateless form nonce: bound to the token, what was shown (the notice's version, the hash of the page's words) and the day.
    pub fn nonce(&self, token: &str, shown: (&str, &str), day: i64) -> String {
        let mut mac = self.newest().nonce_mac.clone();
        let (notice_version, words) = shown;
        mac.update(format!("{token}\n{notice_version}\n{words}\n{day}").as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    pub fn nonce_is_valid(&self, given: &str, token: &str, shown: (&str, &str), day: i64) -> bool {
        // A form opened before midnight is good the day after.
        [day, day - 1].iter().any(|d| same(&self.nonce(token, shown, *d), given))
    }
}

/// Whether two texts are the same, in a time that does not tell how much of them is.
pub fn same(given: &str, wanted: &str) -> bool {
    given.as_bytes().ct_eq(wanted.as_bytes()).into()
}

/// A one-time code, every one as likely as every other.
pub fn one_time_code() -> String {
    loop {
        if let Some(code) = code::of_draw(u32::from_be_bytes(random())) {
            return code;
        }
    }
}

/// A page token: 22 base58 characters, 128 bits from the operating system's generator.
pub fn token() -> String {
    base58(random::<17>(), 22)
}

/// A reference that leaves the process: `prefix-` and base58, at most 32 of `[A-Za-z0-9_.-]`.
pub fn reference(prefix: &str) -> String {
    format!("{prefix}-{}", base58(random::<17>(), 22))
}

/// Tokens have 128 random bits, so a plain hash is enough to store them by.
pub fn token_hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

fn base58<const N: usize>(bytes: [u8; N], length: usize) -> String {
    let text = bs58::encode(bytes).into_string();
    // 17 bytes are 23 or 24 base58 characters; leading zero bytes are rare and only make it shorter.
    let padded = format!("{text:1>length$}");
    padded[padded.len() - length..].to_owned()
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's random generator answers");
    bytes
}

fn derive(master: &[u8], purpose: &str) -> Vec<u8> {
    // HKDF-Expand with one block (RFC 5869): the master key is already uniformly random.
    let mut mac = <HmacSha256 as Mac>::new_from_slice(master).expect("HMAC takes any key length");
    mac.update(format!("permesso 1 {purpose}\u{1}").as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn mac_of(key: &Key, what: &str, text: &str) -> Keyed {
    let mut mac = key.number_mac.clone();
    mac.update(what.as_bytes());
    mac.update(b"\n");
    mac.update(text.as_bytes());
    Keyed { key_id: key.id, mac: hex(&mac.finalize().into_bytes()[..16]) }
}
