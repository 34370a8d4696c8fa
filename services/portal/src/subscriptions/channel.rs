//! The texts of a subscription that have a form of their own.

use std::borrow::Cow;
use std::str::FromStr;

use url::Url;
use utoipa::openapi::schema::{AdditionalProperties, SchemaType};
use utoipa::openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// A device id or site in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-*".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a pattern has 1 to 128 of A-Z a-z 0-9 . _ : - and *")
        }
    }
}

impl PartialSchema for Pattern {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[A-Za-z0-9._:*-]{1,128}$"))
            .description(Some("An id in which `*` stands for any run of characters."))
            .into()
    }
}

impl ToSchema for Pattern {}

/// What [`Address`] takes, but for the length of the part before the `@`.
const PLAIN_ADDRESS: &str = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+([.][A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@\
    [A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$";

/// One e-mail address, without a display name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) String);

impl FromStr for Address {
    type Err = &'static str;

    /// Takes the plain form that every mail server takes: no quotes, comments, literals or other scripts. A header
    /// can't be broken out of with what is left.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "an e-mail address has the form name@example.com";
        let (local, domain) = text.split_once('@').ok_or(FORM)?;
        let atom = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
        };
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        let fits = text.len() <= 254
            && local.len() <= 64
            && local.split('.').all(atom)
            && domain.split('.').all(label);
        if fits { Ok(Self(text.to_owned())) } else { Err(FORM) }
    }
}

/// Where a webhook goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookUrl(pub(crate) String);

impl FromStr for WebhookUrl {
    type Err = &'static str;

    /// Checks the form only. Whether the address may be called is judged when it is, after resolution.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 2_048 {
            return Err("a webhook's URL has at most 2048 bytes");
        }
        // The parser would take these out; the receiver's address is to stay as it was given.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("a URL has no blanks");
        }
        // The parser would forgive a missing slash or two.
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err("a webhook's URL begins with http:// or https://");
        }
        let url = Url::parse(text).map_err(|_| "this is not an absolute URL")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "a webhook's URL holds no user name or password; its receiver knows us by the signature",
            );
        }
        if url.fragment().is_some() {
            return Err("a webhook's URL has no fragment");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A webhook's secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl FromStr for Secret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A shorter key can be guessed from one signed request.
        if (16..=256).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a secret has 16 to 256 characters")
        }
    }
}

/// How a channel of a subscription to be made is described: a webhook needs its secret.
pub(crate) struct ChannelToMake;

impl PartialSchema for ChannelToMake {
    fn schema() -> RefOr<Schema> {
        channel(true, "Where to deliver.")
    }
}

impl ToSchema for ChannelToMake {
    fn name() -> Cow<'static, str> {
        "NewChannel".into()
    }
}

/// How a channel of a change is described: a webhook's secret may be left out.
pub(crate) struct ChannelToChange;

impl PartialSchema for ChannelToChange {
    fn schema() -> RefOr<Schema> {
        channel(false, "Where to deliver. A webhook without a secret keeps the one that its URL had.")
    }
}

impl ToSchema for ChannelToChange {
    fn name() -> Cow<'static, str> {
        "ChannelChange".into()
    }
}

/// Derived, it would not say that no other fields are taken.
fn channel(secret_needed: bool, description: &str) -> RefOr<Schema> {
    let form = |name: &str, description: &str| {
        ObjectBuilder::new()
            .property("channel", text().enum_values(Some([name])))
            .required("channel")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .description(Some(description))
    };
    let to = text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)))
        .pattern(Some(PLAIN_ADDRESS))
        .max_length(Some(254))
        .description(Some("One address, of at most 64 characters before the @."));
    let url = text()
        .pattern(Some(r"^https?://[^\s\x00-\x1f\x7f-\x9f/?#@\\]+([/?][^\s\x00-\x1f\x7f-\x9f#]*)?$"))
        .max_length(Some(2_048))
        .description(Some("An `http` or `https` URL without user name, password and fragment."));
    let secret = if secret_needed {
        text()
    } else {
        ObjectBuilder::new().schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
    };
    let secret = secret
        .min_length(Some(16))
        .max_length(Some(256))
        .description(Some("The bytes of this text are the key of the signature. It is never shown again."));
    let mail = form("email", "A mail.").property("to", to).required("to");
    let webhook = form("webhook", "A signed HTTP POST.").property("url", url).required("url");
    let webhook = webhook.property("secret", secret);
    let webhook = if secret_needed { webhook.required("secret") } else { webhook };
    OneOfBuilder::new().item(mail).item(webhook).description(Some(description)).into()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain() {
        for good in ["a@b", "night.shift+x@mail.example.com", "o'hara@example.com"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b@c",
            "a..b@c",
            "a@-b",
            "Ann <a@b>",
            "a@b\r\nBcc: c@d",
            "a,c@b",
            &long,
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn webhooks_are_absolute_http_urls_without_credentials() {
        for good in ["https://example.com/hook?x=1", "http://10.0.0.1:8080", "http://[::1]/"] {
            assert!(good.parse::<WebhookUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "/hook",
            "ftp://example.com",
            "https://user:pass@example.com",
            "https://user@example.com",
            "https://example.com/#x",
            "http://",
            "javascript:alert(1)",
            " https://example.com",
            "https://exam\nple.com",
            "https:example.com",
        ] {
            assert!(bad.parse::<WebhookUrl>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secrets_have_at_least_sixteen_bytes() {
        assert!("0123456789abcdef".parse::<Secret>().is_ok());
        assert!("0123456789abcde".parse::<Secret>().is_err());
        assert!("x".repeat(257).parse::<Secret>().is_err());
    }
}
