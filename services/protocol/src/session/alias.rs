//! Topic aliases that an MQTT 5 client has set.

use crate::topic::UpTopic;

/// What the aliases of a connection stand for. A handful, so a list.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    /// None for a topic that isn't of the device API.
    list: Vec<(u16, Option<UpTopic>)>,
}

impl Aliases {
    pub(crate) fn set(&mut self, alias: u16, topic: Option<UpTopic>) {
        match self.list.iter_mut().find(|(known, _)| *known == alias) {
            Some((_, known)) => *known = topic,
            None => self.list.push((alias, topic)),
        }
    }

    /// What the alias stands for; the outer none when it was never set.
    pub(crate) fn get(&self, alias: u16) -> Option<Option<UpTopic>> {
        self.list.iter().find(|(known, _)| *known == alias).map(|(_, topic)| *topic)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.list.capacity() * size_of::<(u16, Option<UpTopic>)>()
    }
}
