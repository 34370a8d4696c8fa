//! What others have written.

use super::*;

const NOW: i64 = 1_800_000_000;

fn text(of: &str) -> ByteString {
    ByteString(of.as_bytes().to_vec())
}

/// What is seen when a value of a Secret is another; none: it is not there.
fn with(name: &'static str, key: &str, value: Option<ByteString>) -> Certificates {
    let mut secrets = Secrets::at_rest(NOW);
    let data = secrets.0.get_mut(name).unwrap();
    match value {
        Some(value) => drop(data.insert(key.to_owned(), value)),
        None => drop(data.remove(key)),
    }
    secrets.seen()
}

fn other(name: &'static str, key: &str) -> Option<ByteString> {
    Secrets::at_rest(NOW).data(name).get(key).cloned()
}

#[test]
fn a_damaged_authority_is_named_and_never_replaced() {
    let leaf = other("stoker-gateway-tls", "tls.crt");
    let two = other(AUTHORITY_SECRET, "tls.crt").map(|one| ByteString([one.0.clone(), one.0].concat()));
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (key, value, why) in [
        ("tls.crt", Some(text("none")), "tls.crt has no certificate"),
        ("tls.crt", Some(text("")), "tls.crt has no certificate"),
        ("tls.crt", Some(text(certificate)), "tls.crt has a certificate that cannot be read"),
        ("tls.crt", Some(text("-----BEGIN CERTIFICATE-----\n%%")), "tls.crt is no PEM"),
        ("tls.crt", leaf, "tls.crt is the certificate of no authority"),
        ("tls.crt", two, "tls.crt has more than one certificate"),
        ("tls.crt", Some(ByteString(vec![b'x'; 100_000])), "tls.crt has no certificate"),
        ("tls.crt", Some(ByteString(vec![0xff; 100])), "tls.crt has no certificate"),
        ("tls.crt", None, "tls.key is there without tls.crt"),
        ("tls.key", None, "it lacks the key tls.key"),
        ("tls.key", Some(text("none")), "tls.key does not belong to tls.crt"),
        ("tls.key", other(AUTHORITY_SECRET, "tls.key"), "tls.key does not belong to tls.crt"),
        ("former.crt", Some(text("none")), "former.crt has no certificate"),
        ("next.key", other(AUTHORITY_SECRET, "tls.key"), "next.key is there without next.crt"),
    ] {
        let seen = with(AUTHORITY_SECRET, key, value);
        assert_eq!(seen.authority, Kept::Broken(why.to_owned()));
        let renewal = decide(&KINDS.into_iter().collect(), &seen, NOW + 25 * DAY, false);
        assert_eq!((renewal.authority, renewal.services), (None, Vec::new()), "{why}");
    }
    let empty = Secrets([(AUTHORITY_SECRET, Data::new())].into());
    assert_eq!(empty.seen().authority, Kept::Broken("it lacks the keys tls.crt and tls.key".to_owned()));
}

#[test]
fn a_damaged_certificate_is_made_anew() {
    let name = "stoker-core-tls";
    for (key, value) in [
        ("tls.crt", Some(text("none"))),
        ("tls.crt", None),
        ("tls.crt", other(name, "tls.crt")),
        ("tls.crt", other("stoker-gateway-tls", "tls.crt")),
        ("tls.key", Some(text("none"))),
        ("tls.key", None),
        ("tls.key", other(name, "tls.key")),
        ("ca.crt", Some(text("none"))),
        ("ca.crt", None),
        ("ca.crt", other(name, "ca.crt")),
    ] {
        let renewal = decide(&KINDS.into_iter().collect(), &with(name, key, value), NOW, false);
        assert_eq!(renewal.services, [(Kind::CoreShard, ServiceChange::Issue)], "{key}");
        assert_eq!(renewal.authority, None);
    }
    // That of another role is none, whoever has signed it.
    let mut secrets = Secrets::at_rest(NOW);
    let gateway = secrets.data("stoker-gateway-tls");
    secrets.0.insert(name, gateway);
    let seen = secrets.seen();
    let Some(Kept::There(held)) = seen.services.get(&Kind::CoreShard) else { panic!("{seen:?}") };
    assert_eq!(held.certificate, Err("tls.crt does not say the role core".to_owned()));
}

#[test]
fn a_secret_of_somebody_else_is_theirs_and_nothing_of_it_is_kept() {
    let secrets = Secrets::at_rest(NOW);
    for name in [AUTHORITY_SECRET, "stoker-core-tls"] {
        let mut foreign = secret(name, &secrets.data(name));
        foreign.metadata.labels = None;
        assert_eq!(slimmed(&foreign), None);
        let seen = seen([&foreign].into_iter());
        let all = [seen.authority, Kept::Absent];
        assert!(all[0] == Kept::Foreign || seen.services == [(Kind::CoreShard, Kept::Foreign)].into());
    }
    assert_eq!(slimmed(&secret("bus", &Data::new())), None);
}
