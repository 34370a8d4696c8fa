//! Bytes in and out, and the time by which they have to move.

use std::task::{Context, Poll};
use std::time::Duration;

use stoker_domain::model::EndReason;
use stoker_protocol::session::{EndReason as Ended, Output};
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::{Connection, Scratch, now};

/// A device that takes nothing of what is sent to it for so long is closed.
const WRITE_WITHIN: Duration = Duration::from_secs(20);
/// When a device that is not read is looked at again.
const CATCH_UP: Duration = Duration::from_secs(1);

impl Connection {
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        out: &mut Output,
    ) -> Poll<()> {
        let mut read = ReadBuf::new(buffer);
        let came = self.transport.poll_read(context, &mut read);
        if self.transport.is_behind() && self.write_by.is_none() {
            // Also who takes no answer to a ping is a slow reader.
            self.transport.has_moved();
            self.write_by = Some(Instant::now() + WRITE_WITHIN);
            self.set_timer();
        }
        match std::task::ready!(came) {
            Ok(()) if read.filled().is_empty() => self.session.transport_closed(out),
            Ok(()) => {
                self.owed.heard(now(&self.shared));
                self.session.receive(now(&self.shared), read.filled(), out);
            }
            Err(error) => {
                if self.transport.is_broken() {
                    tracing::debug!(address = %self.peer.address, %error, "a device broke the rules of WebSocket");
                    self.ending.get_or_insert(EndReason::ProtocolError);
                }
                self.session.transport_closed(out);
            }
        }
        Poll::Ready(())
    }

    /// Reads what the device still sends, to no end: a connection that is closed with bytes unread is reset, and what was
    /// written last would be lost with it. Ready when the device has closed.
    pub(super) fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        super::SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..super::ROUNDS {
                let mut read = ReadBuf::new(&mut scratch.buffer);
                match std::task::ready!(self.transport.poll_read(context, &mut read)) {
                    Ok(()) if !read.filled().is_empty() => {}
                    _ => return Poll::Ready(()),
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Handles what came out of the session and writes what it wants to say.
    pub(super) fn settle(&mut self, context: &mut Context<'_>, out: &mut Output) {
        while !out.events.is_empty() {
            let mut events = std::mem::take(&mut out.events);
            for event in events.drain(..) {
                self.event(event, out);
            }
            if out.events.is_empty() {
                out.events = events;
            }
        }
        if !out.transmit.is_empty() {
            let written = match self.transport.poll_write(context, &out.transmit) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(_)) => return self.cut(),
                Poll::Pending => 0,
            };
            self.unsent.extend_from_slice(out.transmit.get(written..).unwrap_or_default());
            // Also for TLS, which may keep what it has taken.
            self.write_by = Some(Instant::now() + WRITE_WITHIN);
            if self.poll_unsent(context).is_pending() {
                self.set_timer();
            }
        }
        self.say_sent();
    }

    /// Ready when nothing is left to be written.
    pub(super) fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.write_by.is_none() {
            return Poll::Ready(());
        }
        let mut done = 0;
        while done < self.unsent.len() {
            match self.transport.poll_write(context, self.unsent.get(done..).unwrap_or_default()) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    done += written;
                    self.write_by = Some(Instant::now() + WRITE_WITHIN);
                }
                Poll::Ready(_) => {
                    self.cut();
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    self.unsent.drain(..done);
                    self.note_progress();
                    return Poll::Pending;
                }
            }
        }
        self.unsent = Vec::new();
        match self.transport.poll_flush(context) {
            Poll::Pending => {
                self.note_progress();
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.cut(),
        }
        self.write_by = None;
        self.say_sent();
        Poll::Ready(())
    }

    /// A device that takes some of what the transport holds is slow, and not gone.
    fn note_progress(&mut self) {
        if self.transport.has_moved() {
            self.write_by = Some(Instant::now() + WRITE_WITHIN);
        }
    }

    /// The transport is broken: nothing more can be said.
    pub(super) fn cut(&mut self) {
        self.unsent = Vec::new();
        self.write_by = None;
        self.ended.get_or_insert(Ended::TransportClosed);
    }

    pub(super) fn set_timer(&mut self) {
        let clock = &self.shared.clock;
        let session = self.session.timeout().and_then(|due| i64::try_from(due).ok());
        let session = session.map(|due| Instant::now() + clock.until(due));
        // While we do not read, the device's silence is ours; it is looked at again when we have caught up.
        let session = if self.may_read() { session } else { Some(Instant::now() + CATCH_UP) };
        let next = session.into_iter().chain(self.write_by).min();
        self.timer.as_mut().reset(next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600)));
    }

    /// Ready when the connection is over. The timer is not moved with every packet: when it fires it is asked anew.
    pub(super) fn poll_timer(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        while self.timer.as_mut().poll(context).is_ready() {
            if self.write_by.is_some_and(|by| by <= Instant::now()) {
                self.ending.get_or_insert(EndReason::SlowReader);
                self.cut();
                return Poll::Ready(());
            }
            scratch.out.clear();
            self.leave_if_answered(&mut scratch.out);
            if self.may_read() {
                self.session.handle_timeout(now(&self.shared), &mut scratch.out);
            }
            if self.write_by.is_none() {
                self.settle(context, &mut scratch.out);
            } else {
                // What is under way is not to be mixed with a goodbye.
                for event in std::mem::take(&mut scratch.out.events) {
                    self.event(event, &mut scratch.out);
                }
            }
            if self.ended.is_some() {
                return Poll::Ready(());
            }
            self.set_timer();
        }
        Poll::Pending
    }
}
