//! The last net: what looks like a secret stands in no report, whoever has put it in a message.

/// What our tokens begin with.
const TOKEN: &str = "stk_";
const HIDDEN: &str = "***";

/// The text without passwords of URLs and without tokens.
pub(super) fn secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = next(rest) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix(TOKEN) {
            out.push_str(TOKEN);
            out.push_str(HIDDEN);
            rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        } else {
            let after = from.strip_prefix("://").unwrap_or_default();
            out.push_str("://");
            let end =
                after.find(|c: char| c.is_whitespace() || "/\"'<>?#".contains(c)).unwrap_or(after.len());
            let authority = after.get(..end).unwrap_or_default();
            rest = match authority.rfind('@') {
                Some(user) => {
                    out.push_str(HIDDEN);
                    after.get(user..).unwrap_or_default()
                }
                None => after,
            };
        }
    }
    out.push_str(rest);
    out
}

fn next(text: &str) -> Option<usize> {
    [text.find(TOKEN), text.find("://")].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::secrets;

    #[test]
    fn passwords_and_tokens_are_hidden_and_the_rest_stays() {
        for (text, shown) in [
            ("smtp://ann:s3@cret@mx.example.com:25/x failed", "smtp://***@mx.example.com:25/x failed"),
            ("http://example.com/a@b", "http://example.com/a@b"),
            ("token stk_ab-C9_x, stk_", "token stk_***, stk_***"),
            ("plain", "plain"),
            ("amqps://a:b@c amqp://d:e@f", "amqps://***@c amqp://***@f"),
        ] {
            assert_eq!(secrets(text), shown);
        }
    }
}
