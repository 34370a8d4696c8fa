//! What one device wants to be told. Usually a byte, rarely a list.

use crate::codec::{Qos, ReasonCode};
use crate::topic::{DeviceFilter, DownTopic};

/// The subscriptions of one device.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// Two bits for each of the four filters without a number: 0 is not subscribed, else QoS + 1.
    wide: u8,
    /// Filters with a number. A device that uses them has a few at once: one for each question asked.
    // Boxed, so that a device without any (nearly all) keeps 8 bytes for it instead of 24.
    #[allow(clippy::box_collection)]
    numbered: Option<Box<Vec<(DownTopic, Qos)>>>,
}

const fn shift(filter: DeviceFilter) -> Result<u8, DownTopic> {
    match filter {
        DeviceFilter::Attributes => Ok(0),
        DeviceFilter::AttributesResponses => Ok(2),
        DeviceFilter::RpcRequests => Ok(4),
        DeviceFilter::RpcResponses => Ok(6),
        DeviceFilter::One(topic) => Err(topic),
    }
}

impl Subscriptions {
    /// Subscribes, or changes the QoS of a subscription.
    ///
    /// # Errors
    /// The reason code for the SUBACK when `max` filters with numbers are there already.
    pub(crate) fn add(&mut self, filter: DeviceFilter, qos: Qos, max: usize) -> Result<(), ReasonCode> {
        match shift(filter) {
            Ok(shift) => self.wide = self.wide & !(0b11 << shift) | (qos as u8 + 1) << shift,
            Err(topic) => {
                let list = self.numbered.get_or_insert_default();
                let full = list.len() >= max;
                match list.iter_mut().find(|(known, _)| *known == topic) {
                    Some((_, known)) => *known = qos,
                    None if full => return Err(ReasonCode::QuotaExceeded),
                    None => list.push((topic, qos)),
                }
            }
        }
        Ok(())
    }

    /// Ends a subscription; false when there was none.
    pub(crate) fn remove(&mut self, filter: DeviceFilter) -> bool {
        match shift(filter) {
            Ok(shift) => {
                let was = self.wide >> shift & 0b11 != 0;
                self.wide &= !(0b11 << shift);
                was
            }
            Err(topic) => {
                let Some(list) = &mut self.numbered else { return false };
                let found = list.iter().position(|(known, _)| *known == topic);
                if let Some(index) = found {
                    list.swap_remove(index);
                }
                if list.is_empty() {
                    self.numbered = None;
                }
                found.is_some()
            }
        }
    }

    /// The QoS a publish to this topic goes out with: the greatest of the subscriptions that match, which
    /// get one copy together (3.3.4). None when nobody wants it.
    pub(crate) fn qos(&self, topic: DownTopic) -> Option<Qos> {
        let shift = match topic {
            DownTopic::Attributes => 0,
            DownTopic::AttributesResponse(_) => 2,
            DownTopic::RpcRequest(_) => 4,
            DownTopic::RpcResponse(_) => 6,
        };
        let wide = (self.wide >> shift & 0b11).checked_sub(1).and_then(Qos::from_u8);
        let list = self.numbered.as_deref().into_iter().flatten();
        let numbered = list.filter(|(known, _)| *known == topic).map(|(_, qos)| *qos).max();
        wide.max(numbered)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.numbered.as_ref().map_or(0, |list| {
            size_of::<Vec<(DownTopic, Qos)>>() + list.capacity() * size_of::<(DownTopic, Qos)>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_without_a_number_cost_nothing_and_keep_their_qos() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.add(DeviceFilter::RpcRequests, Qos::AtLeastOnce, 0).unwrap();
        subscriptions.add(DeviceFilter::Attributes, Qos::AtMostOnce, 0).unwrap();
        assert_eq!(subscriptions.qos(DownTopic::RpcRequest(7)), Some(Qos::AtLeastOnce));
        assert_eq!(subscriptions.qos(DownTopic::Attributes), Some(Qos::AtMostOnce));
        assert_eq!(subscriptions.qos(DownTopic::RpcResponse(7)), None);
        assert_eq!(subscriptions.heap_bytes(), 0);
        subscriptions.add(DeviceFilter::RpcRequests, Qos::AtMostOnce, 0).unwrap();
        assert_eq!(subscriptions.qos(DownTopic::RpcRequest(7)), Some(Qos::AtMostOnce));
        assert!(subscriptions.remove(DeviceFilter::RpcRequests));
        assert!(!subscriptions.remove(DeviceFilter::RpcRequests));
        assert_eq!(subscriptions.qos(DownTopic::RpcRequest(7)), None);
        assert_eq!(subscriptions.qos(DownTopic::Attributes), Some(Qos::AtMostOnce));
    }

    #[test]
    fn filters_with_a_number_are_bounded_and_freed() {
        let one = |n| DeviceFilter::One(DownTopic::RpcResponse(n));
        let mut subscriptions = Subscriptions::default();
        subscriptions.add(one(1), Qos::AtMostOnce, 2).unwrap();
        subscriptions.add(one(2), Qos::AtMostOnce, 2).unwrap();
        assert_eq!(subscriptions.add(one(3), Qos::AtMostOnce, 2), Err(ReasonCode::QuotaExceeded));
        subscriptions.add(one(2), Qos::AtLeastOnce, 2).unwrap();
        assert_eq!(subscriptions.qos(DownTopic::RpcResponse(2)), Some(Qos::AtLeastOnce));
        assert!(
            subscriptions.remove(one(1)) && subscriptions.remove(one(2)) && !subscriptions.remove(one(3))
        );
        assert_eq!(subscriptions.heap_bytes(), 0);
    }

    #[test]
    fn overlapping_subscriptions_give_the_greater_qos() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.add(DeviceFilter::RpcRequests, Qos::AtMostOnce, 9).unwrap();
        subscriptions.add(DeviceFilter::One(DownTopic::RpcRequest(1)), Qos::AtLeastOnce, 9).unwrap();
        assert_eq!(subscriptions.qos(DownTopic::RpcRequest(1)), Some(Qos::AtLeastOnce));
        assert_eq!(subscriptions.qos(DownTopic::RpcRequest(2)), Some(Qos::AtMostOnce));
    }
}
