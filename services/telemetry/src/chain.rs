//! Errors for the log.

use std::error::Error;

/// An error with all that caused it, in one line. Many say what their cause is themselves: that is not said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !said.ends_with(&text) {
            said = format!("{said}: {text}");
        }
        source = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("failed to join")]
        Joining(#[source] io::Error),
        #[error("failed to join: {0}")]
        Saying(#[source] io::Error),
    }

    #[test]
    fn each_cause_is_said_once() {
        let refused = || io::Error::other("refused");
        for error in [Failed::Joining(refused()), Failed::Saying(refused())] {
            assert_eq!(chain(&error), "failed to join: refused");
        }
        assert_eq!(chain(&refused()), "refused");
    }
}
