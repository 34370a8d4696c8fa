//! Subscriptions: rows of the registry. A change is answered once no older state of them is used any more.

use stoker_domain::machine::{Input, Reply, TEST_EVERY_MS, TESTS_MAX, TestRefusal};
use stoker_domain::model::{Channel, Match, OrganizationId, Subscription, SubscriptionId};
use stoker_domain::ports::store::{RegistryKey, RegistryRow, SwapOutcome, Version};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use stoker_proto::problem::ProblemKind;
use tokio::sync::MutexGuard;
use tonic::Status;

use super::portal::Portals;
use super::{lists, slot_status, store_status, wrong_reply};
use crate::SUBSCRIPTIONS_OLD_MOST;

/// Subscriptions of one organization: each fault is held against all of them.
const SUBSCRIPTIONS_MOST: usize = 10_000;
/// Channels of one subscription, and patterns of one condition.
const CHANNELS_MOST: usize = 16;
const PATTERNS_MOST: usize = 256;
const TEXT_MOST: usize = 256;
const URL_MOST: usize = 2_048;
const SECRET_MOST: usize = 256;

fn invalid(detail: impl Into<String>) -> Status {
    ProblemKind::InvalidRequest.status(detail)
}

fn no_subscription(id: &str) -> Status {
    ProblemKind::NotFound.status(format!("there is no subscription {id}"))
}

fn check_name(name: &str) -> Result<(), Status> {
    if name.is_empty() || name.chars().count() > TEXT_MOST {
        return Err(invalid(format!("name has 1 to {TEXT_MOST} characters")));
    }
    Ok(())
}

fn check_match(matching: &Match) -> Result<(), Status> {
    let lists = [("devices", &matching.devices), ("sites", &matching.sites), ("tags", &matching.tags)];
    for (name, list) in lists {
        let Some(list) = list else { continue };
        if list.is_empty() || list.len() > PATTERNS_MOST {
            return Err(invalid(format!(
                "match.{name} has 1 to {PATTERNS_MOST} items; leave it out to match all"
            )));
        }
        if list.iter().any(|pattern| pattern.is_empty() || pattern.chars().count() > TEXT_MOST) {
            return Err(invalid(format!("an item of match.{name} has 1 to {TEXT_MOST} characters")));
        }
    }
    Ok(())
}

fn check_channels(deliver: &[Channel]) -> Result<(), Status> {
    if deliver.is_empty() || deliver.len() > CHANNELS_MOST {
        return Err(invalid(format!("deliver has 1 to {CHANNELS_MOST} channels")));
    }
    for channel in deliver {
        match channel {
            Channel::Email { to } => {
                let plain = to.len() <= 254 && !to.chars().any(|c| c.is_control() || c.is_whitespace());
                let (Some((name, host)), true) = (to.rsplit_once('@'), plain) else {
                    return Err(invalid("to is no e-mail address"));
                };
                if name.is_empty() || host.is_empty() {
                    return Err(invalid("to is no e-mail address"));
                }
            }
            Channel::Webhook { url, secret } => {
                let known = url.starts_with("https://") || url.starts_with("http://");
                if !known || url.len() > URL_MOST || url.chars().any(|c| c.is_control() || c.is_whitespace())
                {
                    return Err(invalid(format!("url is an http or https URL of at most {URL_MOST} bytes")));
                }
                if secret.is_empty() {
                    let needed = "a webhook needs a secret; only a change of one that stays may leave it out";
                    return Err(invalid(needed));
                }
                if secret.chars().count() > SECRET_MOST {
                    return Err(invalid(format!("secret has at most {SECRET_MOST} characters")));
                }
            }
        }
    }
    Ok(())
}

fn channels(deliver: Vec<wire::Channel>) -> Result<Vec<Channel>, Status> {
    Ok(deliver.into_iter().map(convert::channel_from_wire).collect::<Result<_, _>>()?)
}

fn reply(subscription: Subscription) -> wire::SubscriptionReply {
    wire::SubscriptionReply { subscription: Some(convert::subscription_to_wire(subscription)) }
}

impl Portals {
    async fn look_up_subscription(
        &self,
        organization: &str,
        id: &str,
    ) -> Result<(Subscription, Version, RegistryKey), Status> {
        let organization: OrganizationId = convert::id("organization", organization)?;
        let name: SubscriptionId = id.parse().map_err(|_| no_subscription(id))?;
        let key = RegistryKey::Subscription(organization, name);
        match self.shared.store.registry_get(&key).await.map_err(|error| store_status(&error))? {
            Some((RegistryRow::Subscription(subscription), version)) => Ok((subscription, version, key)),
            _ => Err(no_subscription(id)),
        }
    }

    /// Returns when no core goes by what was before. The next change need not wait for that, only for this core to know.
    async fn told_everywhere(&self, one_at_a_time: MutexGuard<'_, ()>) -> Result<(), Status> {
        self.shared.reload_subscriptions().await.map_err(|error| store_status(&error))?;
        drop(one_at_a_time);
        if self.routes.has_others() {
            tokio::time::sleep(SUBSCRIPTIONS_OLD_MOST).await;
        }
        Ok(())
    }

    async fn write_subscription(
        &self,
        subscription: Subscription,
        expected: Option<Version>,
        one_at_a_time: MutexGuard<'_, ()>,
    ) -> Result<wire::SubscriptionReply, Status> {
        let row = RegistryRow::Subscription(subscription.clone());
        let swapped =
            self.shared.store.registry_put(row, expected).await.map_err(|error| store_status(&error))?;
        if let SwapOutcome::Conflict(_) = swapped {
            return Err(ProblemKind::Conflict
                .status("somebody else changed this subscription; read it and try again"));
        }
        self.told_everywhere(one_at_a_time).await?;
        Ok(reply(subscription))
    }

    pub(super) async fn make_subscription(
        &self,
        request: wire::CreateSubscriptionRequest,
    ) -> Result<wire::SubscriptionReply, Status> {
        let organization: OrganizationId = convert::id("organization", &request.organization)?;
        check_name(&request.name)?;
        let matching = convert::match_from_wire(request.r#match)?;
        check_match(&matching)?;
        let deliver = channels(request.deliver)?;
        check_channels(&deliver)?;
        let one_at_a_time = self.changing_subscriptions.lock().await;
        if self.shared.subscriptions().of(&organization).len() >= SUBSCRIPTIONS_MOST {
            let detail = format!("an organization has at most {SUBSCRIPTIONS_MOST} subscriptions");
            return Err(ProblemKind::LimitReached.status(detail));
        }
        let random = getrandom::u64().map_err(|error| ProblemKind::Internal.status(error.to_string()))?;
        let subscription = Subscription {
            id: convert::id("id", &format!("sub-{random:016x}"))?,
            organization,
            name: request.name,
            matching,
            deliver,
            created_at: self.shared.clock.now_ms(),
        };
        self.write_subscription(subscription, None, one_at_a_time).await
    }

    pub(super) async fn find_subscription(
        &self,
        request: wire::GetSubscriptionRequest,
    ) -> Result<wire::SubscriptionReply, Status> {
        Ok(reply(self.look_up_subscription(&request.organization, &request.id).await?.0))
    }

    pub(super) async fn subscriptions(
        &self,
        request: wire::ListSubscriptionsRequest,
    ) -> Result<wire::ListSubscriptionsReply, Status> {
        let limit = lists::limit(request.limit)?;
        let organization: OrganizationId = convert::id("organization", &request.organization)?;
        let after = request.after.unwrap_or_default();
        let all = self.shared.subscriptions();
        let found =
            all.of(&organization).iter().filter(|subscription| subscription.id.as_str() > after.as_str());
        let (page, more) =
            lists::page(found.cloned().collect(), limit, |subscription| subscription.id.clone());
        let subscriptions = page.into_iter().map(convert::subscription_to_wire).collect();
        Ok(wire::ListSubscriptionsReply { subscriptions, more })
    }

    pub(super) async fn change_subscription(
        &self,
        request: wire::PatchSubscriptionRequest,
    ) -> Result<wire::SubscriptionReply, Status> {
        let one_at_a_time = self.changing_subscriptions.lock().await;
        let (mut subscription, version, _) =
            self.look_up_subscription(&request.organization, &request.id).await?;
        if let Some(name) = request.name {
            check_name(&name)?;
            subscription.name = name;
        }
        if let Some(matching) = request.r#match {
            subscription.matching = convert::match_from_wire(Some(matching))?;
            check_match(&subscription.matching)?;
        }
        if let Some(deliver) = request.deliver {
            let mut deliver = channels(deliver.items)?;
            for channel in &mut deliver {
                if let Channel::Webhook { url, secret } = channel
                    && secret.is_empty()
                {
                    let kept = subscription.deliver.iter().find_map(|old| match old {
                        Channel::Webhook { url: of, secret } if of == url => Some(secret.clone()),
                        _ => None,
                    });
                    *secret = kept.unwrap_or_default();
                }
            }
            check_channels(&deliver)?;
            subscription.deliver = deliver;
        }
        self.write_subscription(subscription, Some(version), one_at_a_time).await
    }

    /// Goes by what alarms go by: the subscriptions that the owner knows.
    pub(super) async fn try_subscription(
        &self,
        request: wire::TestSubscriptionRequest,
    ) -> Result<wire::TestSubscriptionReply, Status> {
        let organization: OrganizationId = convert::id("organization", &request.organization)?;
        let id: SubscriptionId = request.id.parse().map_err(|_| no_subscription(&request.id))?;
        let key = Subscription::stand_in(&organization, &id).ok_or_else(|| no_subscription(&request.id))?;
        let input = Input::TestSubscription { organization, id };
        let Reply::Tested(made) = self.slots.apply(key.slot(), input).await.map_err(slot_status)? else {
            return Err(wrong_reply());
        };
        let made = made.map_err(|refusal| match refusal {
            TestRefusal::NotFound => no_subscription(&request.id),
            TestRefusal::TooSoon => ProblemKind::TooManyTests
                .status(format!("a subscription is tested once in {} s", TEST_EVERY_MS / 1_000)),
            TestRefusal::TooMany => ProblemKind::TooManyTests
                .status(format!("{TESTS_MAX} test messages are under way; try again in a few minutes")),
        })?;
        Ok(wire::TestSubscriptionReply { notifications: made.iter().map(ToString::to_string).collect() })
    }

    pub(super) async fn drop_subscription(
        &self,
        request: wire::RemoveSubscriptionRequest,
    ) -> Result<wire::RemoveSubscriptionReply, Status> {
        let one_at_a_time = self.changing_subscriptions.lock().await;
        let (_, version, key) = self.look_up_subscription(&request.organization, &request.id).await?;
        self.shared.store.registry_delete(&key, version).await.map_err(|error| store_status(&error))?;
        self.told_everywhere(one_at_a_time).await?;
        Ok(wire::RemoveSubscriptionReply {})
    }
}
