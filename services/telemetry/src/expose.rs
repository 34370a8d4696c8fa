//! Showing numbers that are kept elsewhere, in the form that Prometheus reads.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::HistogramSnapshot;

/// The labels of a series: names and values. Values come from a fixed set: each new one is a series for ever.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a histogram counts, and so what its numbers are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Microseconds, shown as seconds.
    Time,
    /// Numbers, shown as they are.
    Sizes,
}

impl Of {
    fn shown(self, value: u64) -> f64 {
        // Exact up to 2^53 microseconds: 285 years.
        #[expect(clippy::cast_precision_loss, reason = "a sum of microseconds is read by people")]
        let value = value as f64;
        match self {
            Self::Time => value / 1_000_000.0,
            Self::Sizes => value,
        }
    }
}

/// Writes metrics.
#[derive(Debug)]
pub struct Exposition<'a>(pub DescriptorEncoder<'a>);

impl Exposition<'_> {
    /// What only grows. The ending `_total` is added.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    /// What only grows, by labels.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn counters(&mut self, name: &str, help: &str, series: &[(Labels<'_>, u64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            metric.encode_family(labels)?.encode_counter::<NoLabelSet, u64, u64>(value, None)?;
        }
        Ok(())
    }

    /// What goes up and down.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// What goes up and down, and is no whole number.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn gauge_f64(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// What goes up and down, by labels.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn gauges(&mut self, name: &str, help: &str, series: &[(Labels<'_>, u64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            metric.encode_family(labels)?.encode_gauge(value)?;
        }
        Ok(())
    }

    /// A histogram.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn histogram(
        &mut self,
        name: &str,
        help: &str,
        of: Of,
        histogram: &HistogramSnapshot,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let (sum, count, buckets) = shown(of, histogram);
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// Histograms, by labels.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn histograms(
        &mut self,
        name: &str,
        help: &str,
        of: Of,
        series: &[(Labels<'_>, HistogramSnapshot)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in series {
            let (sum, count, buckets) = shown(of, histogram);
            metric.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn shown(of: Of, histogram: &HistogramSnapshot) -> (f64, u64, Vec<(f64, u64)>) {
    let bounds = histogram.bounds.iter().map(|&bound| of.shown(bound)).chain([f64::INFINITY]);
    let buckets = bounds.zip(histogram.buckets.iter().copied()).collect();
    (of.shown(histogram.sum), histogram.count(), buckets)
}
