//! Tests of the stored forms.
