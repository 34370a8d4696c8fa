//! Texts of others, cut to size.

/// The beginning of `text`, of at most `most` bytes, with a sign where something is missing.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    const CUT: &str = " …";
    if text.len() <= most {
        return text.to_owned();
    }
    let kept = text.floor_char_boundary(most.saturating_sub(CUT.len()));
    format!("{}{CUT}", text[..kept].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("too long", 7), "too …");
        for most in 4..30 {
            assert!(shortened("ein längerer Satz über Öfen", most).len() <= most.max(4));
        }
    }
}
