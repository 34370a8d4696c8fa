//! An output in the making.

use std::collections::BTreeSet;

use super::{Context, Effect, Output};
use crate::model::{Event, Millis};
use crate::ports::bus::Activity;
use crate::ports::store::{Append, StateKey};
use crate::settings::Settings;

use super::timers::Subject;

/// What one input has led to so far. Rows are only named: what to write of them is known at the end.
pub(super) struct Draft<'c> {
    pub(super) ctx: &'c Context<'c>,
    out: Output,
    dirty: BTreeSet<StateKey>,
    timed: BTreeSet<Subject>,
}

impl<'c> Draft<'c> {
    pub(super) fn new(ctx: &'c Context<'c>) -> Self {
        Self { ctx, out: Output::default(), dirty: BTreeSet::new(), timed: BTreeSet::new() }
    }

    pub(super) fn now(&self) -> Millis {
        self.ctx.now
    }

    pub(super) fn settings(&self) -> &'c Settings {
        self.ctx.settings
    }

    /// This row has changed, or is gone.
    pub(super) fn touch(&mut self, key: StateKey) {
        if let Some(subject) = Subject::of(&key) {
            self.timed.insert(subject);
        }
        self.dirty.insert(key);
    }

    /// Due-times of this may have changed, though none of its rows has.
    pub(super) fn retime(&mut self, subject: Subject) {
        self.timed.insert(subject);
    }

    pub(super) fn immediate(&mut self, effect: Effect) {
        self.out.immediate.push(effect);
    }

    pub(super) fn after(&mut self, effect: Effect) {
        self.out.after.push(effect);
    }

    pub(super) fn tell(&mut self, activity: Activity) {
        self.after(Effect::Activity(Box::new(activity)));
    }

    /// Appends an event and tells of it.
    pub(super) fn append_event(&mut self, event: Event) {
        self.out.history.push(Append::Event(event.clone()));
        self.tell(Activity::Event(event));
    }

    /// An ended row is to leave for history.
    pub(super) fn archive(&mut self, key: StateKey, row: Append) {
        self.after(Effect::Archive(key, Box::new(row)));
    }

    pub(super) fn into_parts(self) -> (Output, BTreeSet<StateKey>, BTreeSet<Subject>) {
        (self.out, self.dirty, self.timed)
    }
}
