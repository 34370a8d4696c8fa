//! Credentials of devices: made, hashed, checked.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use stoker_domain::model::{Device, DeviceKey, Proof, TokenHash};
use stoker_domain::ports::store::{RegistryKey, RegistryRow, Store, StoreError, SwapOutcome};
use stoker_proto::convert;
use stoker_proto::core::v1::peer_service_client::PeerServiceClient;
use stoker_proto::core::v1::{HoldsTokenReply, HoldsTokenRequest};
use stoker_proto::place;
use tonic::{Request, Status};

use crate::cluster::Routes;
use crate::passwords::{HashError, Passwords};
use crate::services::credential_status;
use crate::slots::{SlotError, Slots};

/// The least length of a token that a caller brings, in characters.
pub(crate) const TOKEN_MIN: usize = 16;
/// The greatest; longer ones would only cost time to hash.
pub(crate) const TOKEN_MAX: usize = 256;
/// The greatest length of a password.
pub(crate) const PASSWORD_MAX: usize = 256;

/// Verified passwords that are remembered, so that a reconnect storm does not cost an argon2id each.
const REMEMBERED_PASSWORDS: usize = 50_000;

/// Tokens that are remembered with whose they are, so that a reconnect storm does not cost a read each.
const REMEMBERED_TOKENS: usize = 50_000;

const SETTING: &str = "token_key";

/// Why a credential could not be checked. A wrong one is not an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error("{}", .0.message())]
    Owner(Status),
    #[error("no randomness: {0}")]
    Randomness(String),
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// What a device shows.
#[derive(Clone)]
pub(crate) enum Shown {
    Token(String),
    Password { user_name: String, password: String },
    Certificate { organization: String, device: String },
}

/// Makes and checks credentials.
pub(crate) struct Credentials {
    store: Arc<dyn Store>,
    slots: Slots,
    routes: Routes,
    key: [u8; 32],
    passwords: Passwords,
    /// SHA-256 over PHC string and password, by device.
    remembered: Mutex<HashMap<DeviceKey, [u8; 32]>>,
    /// Whose a token was when it was read. The owner of the device's slot has the last word.
    tokens: Mutex<HashMap<TokenHash, DeviceKey>>,
}

fn random<const N: usize>() -> Result<[u8; N], CredentialError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| CredentialError::Randomness(error.to_string()))?;
    Ok(bytes)
}

impl Credentials {
    /// Reads the platform's token key, or makes it when this is the first start.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        slots: Slots,
        routes: Routes,
    ) -> Result<Self, CredentialError> {
        let key = loop {
            match store.registry_get(&RegistryKey::Setting(SETTING.to_owned())).await? {
                Some((RegistryRow::Setting { value, .. }, _)) => {
                    break <[u8; 32]>::try_from(value.as_slice()).map_err(|_| {
                        StoreError::Corrupt(format!("the setting {SETTING} does not have 32 bytes"))
                    })?;
                }
                Some(_) => return Err(StoreError::Corrupt(format!("{SETTING} is no setting")).into()),
                None => {
                    let value = random::<32>()?.to_vec();
                    let row = RegistryRow::Setting { name: SETTING.to_owned(), value };
                    // Whoever was first has made it; read what stands.
                    store.registry_put(row, None).await?;
                }
            }
        };
        let (passwords, remembered, tokens) = Default::default();
        Ok(Self { store, slots, routes, key, passwords, remembered, tokens })
    }

    /// A new token: `stk_` and 192 random bits.
    pub(crate) fn make_token() -> Result<String, CredentialError> {
        Ok(format!("stk_{}", URL_SAFE_NO_PAD.encode(random::<24>()?)))
    }

    /// The keyed hash of a token.
    pub(crate) fn hash_token(&self, token: &str) -> TokenHash {
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key) else {
            // HMAC takes keys of every length; a hash that no token has would be the answer otherwise.
            return TokenHash([0; 32]);
        };
        mac.update(token.as_bytes());
        TokenHash(mac.finalize().into_bytes().into())
    }

    /// Reserves a token for a device. False: it is somebody else's.
    pub(crate) async fn reserve_token(
        &self,
        hash: TokenHash,
        device: &DeviceKey,
    ) -> Result<bool, CredentialError> {
        let row = || RegistryRow::Token { hash, device: device.clone() };
        loop {
            let Some((existing, version)) = self.store.registry_get(&RegistryKey::Token(hash)).await? else {
                match self.store.registry_put(row(), None).await? {
                    SwapOutcome::Swapped(_) => return Ok(true),
                    SwapOutcome::Conflict(_) => continue,
                }
            };
            let RegistryRow::Token { device: holder, .. } = existing else {
                return Err(StoreError::Corrupt("a token's row is none".to_owned()).into());
            };
            if holder == *device {
                return Ok(true);
            }
            // A row without its device is void: its making was cut short, or its device is gone.
            if self.holds_token(&holder, hash).await? {
                return Ok(false);
            }
            if let SwapOutcome::Swapped(_) = self.store.registry_put(row(), Some(version)).await? {
                return Ok(true);
            }
        }
    }

    /// Whether the device's record names this token, whoever owns its slot.
    async fn holds_token(&self, device: &DeviceKey, hash: TokenHash) -> Result<bool, CredentialError> {
        let ask = HoldsTokenRequest { device: Some(convert::device_ref(device)), hash: hash.0.to_vec() };
        let here = |ask: HoldsTokenRequest| async move {
            let holds = self.names_token(device, &ask.hash).await;
            Ok(HoldsTokenReply { holds: holds.map_err(|error| credential_status(&error))? })
        };
        let there = |channel, ask| async move { PeerServiceClient::new(channel).holds_token(ask).await };
        let answer = self.routes.place(Request::new(ask), here, there).await;
        Ok(answer.map_err(CredentialError::Owner)?.into_inner().holds)
    }

    /// Whether the device's record names this token; asked of the owner of its slot.
    pub(crate) async fn names_token(&self, device: &DeviceKey, hash: &[u8]) -> Result<bool, CredentialError> {
        let token = self.device(device).await?.and_then(|device| device.token_hash);
        Ok(token.is_some_and(|token| token.0 == hash))
    }

    /// Lets a token go that its device does not name any more.
    pub(crate) async fn release_token(
        &self,
        hash: TokenHash,
        device: &DeviceKey,
    ) -> Result<(), CredentialError> {
        let key = RegistryKey::Token(hash);
        if let Some((RegistryRow::Token { device: holder, .. }, version)) =
            self.store.registry_get(&key).await?
            && holder == *device
        {
            // Conflict: somebody has taken the void row over, and so it is theirs.
            self.store.registry_delete(&key, version).await?;
        }
        Ok(())
    }

    /// Hashes a password by argon2id.
    pub(crate) async fn hash_password(&self, password: String) -> Result<String, CredentialError> {
        Ok(self.passwords.hash(password).await?)
    }

    async fn device(&self, key: &DeviceKey) -> Result<Option<Device>, SlotError> {
        let look = key.clone();
        self.slots
            .query(key.slot(), move |machine| machine.device(&look).map(|view| view.record.clone()))
            .await
    }

    /// Whose credential this would be, without a look at whether it is right; none when it can be nobody's.
    pub(crate) async fn claimed(&self, shown: &Shown) -> Result<Option<DeviceKey>, CredentialError> {
        Ok(match shown {
            Shown::Token(token) => self.token_row(token).await?.map(|(_, device)| device),
            Shown::Password { user_name, .. } => place::device_of_user(user_name),
            Shown::Certificate { organization, device } => place::device_named(organization, device),
        })
    }

    /// Whose credential this would be, and what it comes to; none when it is nobody's. Asked of the owner of the device's
    /// slot, whose record of the device has the last word.
    pub(crate) async fn check(&self, shown: Shown) -> Result<Option<(DeviceKey, Proof)>, CredentialError> {
        if let Shown::Token(token) = &shown {
            let row = self.token_row(token).await?;
            return Ok(row.map(|(hash, device)| (device, Proof::Token(hash))));
        }
        let Some(key) = self.claimed(&shown).await? else { return Ok(None) };
        let proof = match shown {
            Shown::Password { password, .. } => {
                self.check_password(&key, password).await?.map(Proof::Password)
            }
            _ => Some(Proof::Certificate),
        };
        Ok(proof.map(|proof| (key, proof)))
    }

    async fn token_row(&self, token: &str) -> Result<Option<(TokenHash, DeviceKey)>, CredentialError> {
        if token.is_empty() || token.chars().count() > TOKEN_MAX {
            return Ok(None);
        }
        let hash = self.hash_token(token);
        let remembered = self.tokens.lock().get(&hash).cloned();
        // Of another's slot that other would have to say whether it still is so, and could not tell it from a slot that has moved.
        if let Some(device) = remembered.filter(|device| self.slots.epoch(device.slot()).is_some()) {
            return Ok(Some((hash, device)));
        }
        let row = self.store.registry_get(&RegistryKey::Token(hash)).await?;
        let Some((RegistryRow::Token { device, .. }, _)) = row else { return Ok(None) };
        let mut tokens = self.tokens.lock();
        if tokens.len() >= REMEMBERED_TOKENS {
            tokens.clear();
        }
        tokens.insert(hash, device.clone());
        Ok(Some((hash, device)))
    }

    /// What was remembered of this credential was of no use: from now on it is looked up again. False: nothing was
    /// remembered, so that another look would say the same.
    pub(crate) fn forget(&self, shown: &Shown) -> bool {
        let Shown::Token(token) = shown else { return false };
        self.tokens.lock().remove(&self.hash_token(token)).is_some()
    }

    /// The PHC string of the device, if the password is right for it.
    async fn check_password(
        &self,
        key: &DeviceKey,
        password: String,
    ) -> Result<Option<String>, CredentialError> {
        if password.chars().count() > PASSWORD_MAX {
            return Ok(None);
        }
        let Some(phc) = self.device(key).await?.and_then(|record| record.password_hash) else {
            return Ok(None);
        };
        let digest: [u8; 32] = {
            let mut digest = Sha256::new();
            digest.update(phc.as_bytes());
            digest.update([0]);
            digest.update(password.as_bytes());
            digest.finalize().into()
        };
        if self.remembered.lock().get(key) == Some(&digest) {
            return Ok(Some(phc));
        }
        if !self.passwords.is_right(password, phc.clone()).await? {
            return Ok(None);
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_PASSWORDS {
            remembered.clear();
        }
        remembered.insert(key.clone(), digest);
        Ok(Some(phc))
    }
}
