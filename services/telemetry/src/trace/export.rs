//! Giving spans to the collector: a bounded queue and one task. A collector that is away costs nobody anything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::EXPORT_WITHIN;

/// Spans that may wait. At about 1 KiB each they are 4 MiB.
const QUEUE: usize = 4_096;
/// Spans of one request to the collector.
const BATCH: usize = 512;
/// How long spans wait for others.
const GATHER: Duration = Duration::from_millis(500);
/// How long a collector that failed is left alone, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// How often the log says that the collector fails.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// What is left at the end is given to it within this time.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// What became of spans.
#[derive(Debug, Default)]
pub struct TraceStats {
    exported: AtomicU64,
    full: AtomicU64,
    failed: AtomicU64,
}

impl TraceStats {
    /// Spans that the collector has.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that found the queue full.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Spans that the collector did not take.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Puts spans that have ended in the queue.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    stats: Arc<TraceStats>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.stats.full.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Takes spans out of the queue and gives them to the collector.
pub struct TraceExport {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    endpoint: String,
    stats: Arc<TraceStats>,
    complained: Option<Instant>,
    /// Spans are made as long as it is there.
    _provider: Option<Arc<SdkTracerProvider>>,
}

impl fmt::Debug for TraceExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceExport").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

pub(super) fn queue(exporter: SpanExporter, endpoint: String) -> (Queue, TraceExport) {
    let (sender, spans) = mpsc::channel(QUEUE);
    let stats = Arc::new(TraceStats::default());
    let queue = Queue { spans: sender, stats: stats.clone() };
    (queue, TraceExport { spans, exporter, endpoint, stats, complained: None, _provider: None })
}

impl TraceExport {
    pub(super) fn keeping(self, provider: Arc<SdkTracerProvider>) -> Self {
        Self { _provider: Some(provider), ..self }
    }

    /// The counters, to be kept by whoever serves metrics.
    #[must_use]
    pub fn stats(&self) -> Arc<TraceStats> {
        Arc::clone(&self.stats)
    }

    /// Exports until shutdown, and then what is left, within a few seconds.
    ///
    /// # Errors
    /// Never; what the collector does not take is counted.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut pause = PAUSE;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.spans.recv_many(&mut batch, BATCH) => {}
            }
            let mut wait = GATHER;
            if self.gather_and_export(&mut batch, wait, &shutdown).await {
                pause = PAUSE;
            } else {
                wait = pause;
                pause = (pause * 2).min(PAUSE_MOST);
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = sleep(wait) => {}
                }
            }
        }
        let rest = async {
            loop {
                self.fill(&mut batch);
                if batch.is_empty() || !self.export(&mut batch).await {
                    return;
                }
            }
        };
        if timeout(FLUSH_WITHIN, rest).await.is_err() {
            tracing::debug!("the last spans were not taken in time");
        }
        Ok(())
    }

    async fn gather_and_export(
        &mut self,
        batch: &mut Vec<SpanData>,
        wait: Duration,
        shutdown: &CancellationToken,
    ) -> bool {
        if batch.len() < BATCH {
            tokio::select! {
                () = shutdown.cancelled() => return true,
                () = sleep(wait) => {}
            }
            self.fill(batch);
        }
        self.export(batch).await
    }

    fn fill(&mut self, batch: &mut Vec<SpanData>) {
        while batch.len() < BATCH
            && let Ok(span) = self.spans.try_recv()
        {
            batch.push(span);
        }
    }

    /// False: the collector did not take them, and they are gone.
    async fn export(&mut self, batch: &mut Vec<SpanData>) -> bool {
        let spans = std::mem::replace(batch, Vec::with_capacity(BATCH));
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let error = match timeout(EXPORT_WITHIN, self.exporter.export(spans)).await {
            Ok(Ok(())) => {
                self.stats.exported.fetch_add(count, Ordering::Relaxed);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let failed = self.stats.failed.fetch_add(count, Ordering::Relaxed) + count;
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                endpoint = self.endpoint,
                failed,
                error,
                "traces are not taken by their collector"
            );
        }
        false
    }
}
