//! Starts that fail, and what they say: the thing and the way out.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result, bail, ensure};
use stoker_e2e::{ClientCa, Options, Platform, SmtpSink, eventually, refused};

/// Flags of `up` on a directory, with free ports where none is given.
fn up<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut flags = vec!["up", "--data-dir", data];
    for flag in ["--mqtt", "--ws", "--http", "--admin"] {
        if !more.contains(&flag) {
            flags.extend([flag, "127.0.0.1:0"]);
        }
    }
    flags.extend(more);
    flags
}

/// The start fails with code 1, and says all of these on standard error.
async fn fails(flags: &[&str], variables: &[(&str, &str)], says: &[&str]) -> Result<()> {
    let refused = refused(flags, variables).await?;
    ensure!(refused.code == 1, "exit code 1, not {}: {}", refused.code, refused.said);
    for word in says {
        ensure!(refused.said.contains(word), "{word:?} is not in: {}", refused.said);
    }
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_flag_that_changes_it() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let data = data.to_str().context("no UTF-8")?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for flag in ["--mqtt", "--mqtts", "--ws", "--wss", "--http", "--admin"] {
        fails(&up(data, &[flag, &address]), &[], &[&address, flag]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_none_is_named_with_its_flag() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let data = data.to_str().context("no UTF-8")?;
    for address in ["1883", "127.0.0.1:99999", "no.such.host.invalid:1883"] {
        fails(&up(data, &["--mqtt", address]), &[], &[address, "--mqtt"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_one_is_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    fs::write(&file, "")?;
    let file = file.to_str().context("no UTF-8")?;
    fails(&up(file, &[]), &[], &[file, "--data-dir"]).await?;
    let below = format!("{file}/data");
    fails(&up(&below, &[]), &[], &[&below]).await?;
    // Nobody may write there, not even root.
    for nobody in ["/proc/sys", "/proc/stoker"] {
        fails(&up(nobody, &[]), &[], &[nobody, "owner"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_a_newer_version_is_left_alone() -> Result<()> {
    let mut platform = Platform::one("about its data directory", Options::default()).await?;
    platform.api.make_device("boiler-7").await?;
    ensure!(platform.terminate().await?.success());
    let file = platform.data_dir().join("VERSION");
    let ours = fs::read_to_string(&file)?;
    let (_, rest) = ours.split_once('\n').context("VERSION has one line")?;
    fs::write(&file, format!("stoker 99\n{rest}"))?;
    let data = platform.data_dir();
    let data = data.to_str().context("no UTF-8")?;
    fails(&up(data, &[]), &[], &[data, "99", "newer"]).await?;
    fs::write(&file, ours)?;
    platform.restart().await?;
    platform.api.get("/devices/boiler-7").await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_data_directory_is_refused_and_harms_nothing() -> Result<()> {
    let platform = Platform::one("about its data directory", Options::default()).await?;
    platform.api.make_device("boiler-7").await?;
    let data = platform.data_dir();
    let data = data.to_str().context("no UTF-8")?;
    fails(&up(data, &[]), &[], &[data, "--data-dir"]).await?;
    platform.api.get("/devices/boiler-7").await?.expect(200)?;
    platform.api.make_device("boiler-8").await?;
    Ok(())
}

#[tokio::test]
async fn a_configuration_with_a_mistake_is_named_with_its_place() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let data = data.to_str().context("no UTF-8")?;
    let file = directory.path().join("stoker.yaml");
    let path = file.to_str().context("no UTF-8")?;
    for (text, says) in [
        ("silense: {after: 3s}", "silense"),
        ("silence: {after: soon}", "soon"),
        ("silence: [", "YAML"),
        ("gateway: {mqtts: {cert: /nowhere.pem}}", "gateway.mqtts.key"),
        ("notifier: {webhook: {allow: [banana]}}", "banana"),
    ] {
        fs::write(&file, text)?;
        fails(&up(data, &["--mqtts", "127.0.0.1:0", "--config", path]), &[], &[says]).await?;
    }
    let variable = [("STOKER__SILENCE__AFTERWARDS", "3s")];
    fails(&up(data, &[]), &variable, &["afterwards", "STOKER__"]).await?;
    fails(&up(data, &["--config", "/nowhere.yaml"]), &[], &["/nowhere.yaml"]).await?;
    fs::write(&file, "silence: {afterwards: 3s}")?;
    fails(&["config", "check", path], &[], &["afterwards", path]).await
}

#[tokio::test]
async fn wrong_use_ends_with_2() -> Result<()> {
    for flags in [vec!["upp"], vec!["up", "--mqttt", "x"], vec!["up", "--demo=many"], vec![]] {
        let refused = refused(&flags, &[]).await?;
        ensure!(refused.code == 2, "{flags:?}: {} {}", refused.code, refused.said);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_with_0_and_the_port_is_free_again() -> Result<()> {
    let mut platform = Platform::one("`services` ends processes of their own", Options::default()).await?;
    platform.api.make_device("boiler-7").await?;
    for _ in 0..3 {
        ensure!(platform.terminate().await?.success());
        platform.restart().await?;
        platform.api.get("/devices/boiler-7").await?.expect(200)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_not_told_where_the_others_are_names_the_key_and_the_variable() -> Result<()> {
    for (service, key, variable) in [
        ("core", "cassandra.contact_points", "STOKER__CASSANDRA__CONTACT_POINTS"),
        ("gateway", "gateway.cores", "STOKER__GATEWAY__CORES"),
        ("notifier", "notifier.cores", "STOKER__NOTIFIER__CORES"),
        ("portal", "portal.cores", "STOKER__PORTAL__CORES"),
    ] {
        let refused = refused(&[service], &[]).await?;
        assert_eq!(refused.code, 1, "{service}: {}", refused.said);
        ensure!(refused.said.contains(key) && refused.said.contains(variable), "{service}: {}", refused.said);
    }
    Ok(())
}

#[tokio::test]
async fn the_crash_of_a_process_before_is_mailed_once() -> Result<()> {
    let mail = SmtpSink::start().await?;
    let config = format!("{}crash: {{mail_to: ops@example.org}}\n", mail.config());
    let mut platform = Platform::one("reports are in its data directory", Options::config(&config)).await?;
    platform.kill9()?;
    let reports = platform.data_dir().join("crashes");
    fs::create_dir_all(&reports)?;
    for number in 1..=3 {
        let report = format!("panic: number {number}\nat: nowhere\n");
        fs::write(reports.join(format!("crash-{number:015}-1-0000.txt")), report)?;
    }
    platform.restart().await?;
    platform.log_line("a crash report was mailed").await?;
    // The one after it finds nothing that nobody was told of.
    platform.kill9()?;
    platform.restart().await?;
    ensure!(platform.terminate().await?.success(), "it did not end well");
    let mails = mail.mails();
    let [only] = mails.as_slice() else { bail!("{} mails about one crash", mails.len()) };
    ensure!(only.to() == "ops@example.org" && only.subject().ends_with(": panic: number 3"), "{only:?}");
    ensure!(only.subject().starts_with("[crash] up on "), "{}", only.subject());
    ensure!(only.body().contains("2 more reports") && only.body().contains("at: nowhere"), "{}", only.body());
    Ok(())
}

#[tokio::test]
async fn crash_mail_without_a_mail_server_is_refused() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let data = data.to_str().context("no UTF-8")?;
    let says = ["crash.mail_to", "notifier.email.smtp_url"];
    fails(&up(data, &[]), &[("STOKER__CRASH__MAIL_TO", "ops@example.org")], &says).await
}

/// What the platform's description is answered with to somebody who believes that authority alone and comes anew; nothing where
/// they do not believe what they are shown.
async fn described(url: &str, ca: &ClientCa) -> Result<Option<reqwest::StatusCode>> {
    let believed = reqwest::Certificate::from_pem(&fs::read(&ca.path)?)?;
    let client = reqwest::Client::builder().tls_certs_only([believed]).build()?;
    Ok(client.get(url).send().await.ok().map(|answer| answer.status()))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_by_https_where_there_is_a_certificate_and_are_shown_a_new_one_as_it_comes() -> Result<()>
{
    let directory = tempfile::tempdir()?;
    let [old, new] = ["old", "new"].map(|name| ClientCa::make(directory.path(), name));
    let (old, new) = (old?, new?);
    let shown = old.sign_server("portal", &["127.0.0.1"])?;
    let (cert, key) = (shown.certificate.display(), shown.key.display());
    let config = format!("portal: {{cert: '{cert}', key: '{key}', hostname: stoker.example.com}}");
    let why = "the portal's port is behind no balancer";
    let platform = Platform::one(why, Options::config(&config)).await?;
    let path = format!("{}/api/v1/openapi.json", platform.http);
    let url = format!("https://{path}");
    ensure!(described(&url, &new).await?.is_none(), "what the other has signed is not shown yet");
    ensure!(described(&url, &old).await?.is_some_and(|status| status == 200), "HTTPS is spoken");
    ensure!(described(&format!("http://{path}"), &old).await?.is_none(), "nothing else is");
    // Into the same files.
    new.sign_server("portal", &["127.0.0.1"])?;
    eventually("the new certificate is shown", || async { described(&url, &new).await }).await?;
    Ok(())
}

#[tokio::test]
async fn a_certificate_for_people_that_cannot_be_used_is_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let data = data.to_str().context("no UTF-8")?;
    let flags = up(data, &[]);
    let nowhere = [("STOKER__PORTAL__CERT", "/nowhere/a.crt"), ("STOKER__PORTAL__KEY", "/nowhere/a.key")];
    fails(&flags, &nowhere[..1], &["portal.key", "both or neither"]).await?;
    fails(&flags, &nowhere, &["portal.cert", "/nowhere/a.crt"]).await?;
    fails(&flags, &[("STOKER__PORTAL__HOSTNAME", "https://stoker.example.com")], &["portal.hostname"])
        .await?;
    let networks = [("STOKER__GATEWAY__MQTT__PROXY_PROTOCOL__TRUSTED_CIDRS", "10.0.0.0/8,balancer")];
    fails(&flags, &networks, &["gateway.mqtt.proxy_protocol.trusted_cidrs", "balancer"]).await
}
