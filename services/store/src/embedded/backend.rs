//! A storage that measures how long flushes take.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use redb::{BackendError, StorageBackend};

use super::stats::Counters;

/// Where the bytes go: a file, or what a test puts in its place.
pub type Backend = Box<dyn StorageBackend>;

/// Another storage, measured.
#[derive(Debug)]
pub(super) struct Measured {
    inner: Backend,
    counters: Arc<Counters>,
}

impl Measured {
    pub(super) fn new(inner: Backend, counters: Arc<Counters>) -> Self {
        Self { inner, counters }
    }
}

impl StorageBackend for Measured {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let start = Instant::now();
        let result = self.inner.sync_data();
        self.counters.fsync(start.elapsed());
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
