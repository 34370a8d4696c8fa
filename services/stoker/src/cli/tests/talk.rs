//! What goes over the wire, before a server whose answers are written down.

use std::io::{self, Write};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::parse;
use crate::cli::output::Output;
use crate::cli::{Client, Failure, Form, perform};

/// Answers one request after the other and gives back what was asked.
async fn server(answers: Vec<(u16, Value)>) -> (String, JoinHandle<Vec<String>>) {
    // Without one no client can be made, also for plain HTTP; another test may have been faster.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for (status, answer) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let text = String::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let left = length.map_or(0, |length| length.parse::<usize>().unwrap() - body.len());
            // Or the end of the connection would reach the client before the answer.
            stream.read_exact(&mut vec![0; left]).await.unwrap();
            asked.push(text);
            let body = answer.to_string();
            let head =
                format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
        asked
    });
    (address, serving)
}

fn target(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

fn command(state: &str, ended: bool) -> Value {
    json!({
        "id": "cmd-0a-12-ff", "number": 1, "device": "b", "method": "m", "params": {}, "state": state,
        "outcome": null, "reply": null, "detail": null, "online": true, "created_at": "2026-11-21T11:59:23.000Z",
        "sent_at": null, "delivered_at": null, "ended_at": ended.then_some("2026-11-21T12:00:00.000Z"),
        "expires_at": "2026-11-21T12:00:00.000Z"
    })
}

#[tokio::test]
async fn a_list_follows_its_cursors_up_to_the_limit() {
    let items = |count: usize| vec![json!(0); count];
    let (address, serving) = server(vec![
        (200, json!({"items": items(1_000), "next_cursor": "a+b"})),
        (200, json!({"items": items(500), "next_cursor": "c"})),
    ])
    .await;
    let line = format!("device list --limit 1500 -o json --server {address} --token secret");
    perform(parse(&line).unwrap()).await.unwrap();
    let asked = serving.await.unwrap();
    assert_eq!(target(&asked[0]), "/api/v1/devices?limit=1000");
    assert_eq!(target(&asked[1]), "/api/v1/devices?limit=500&cursor=a%2Bb");
    assert!(asked[0].to_lowercase().contains("authorization: bearer secret"), "{}", asked[0]);
}

#[tokio::test]
async fn waiting_goes_on_until_the_command_has_ended_and_only_success_is_success() {
    for (state, success) in [("succeeded", true), ("failed", false)] {
        let (address, serving) = server(vec![
            (202, command("queued", false)),
            (200, command("delivered", false)),
            (200, command(state, true)),
        ])
        .await;
        let line = format!("command send b m --wait --server {address}/ --token secret -o json");
        assert_eq!(perform(parse(&line).unwrap()).await.is_ok(), success);
        let asked = serving.await.unwrap();
        assert!(asked[0].starts_with("POST /api/v1/devices/b/commands "), "{}", asked[0]);
        assert_eq!(target(&asked[2]), "/api/v1/commands/cmd-0a-12-ff?wait_s=60");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_with_what_may_help() {
    let (address, serving) = server(Vec::new()).await;
    serving.await.unwrap();
    let failure = perform(parse(&format!("status --server {address} --token x")).unwrap()).await.unwrap_err();
    let Failure::Failed { what, hint: Some(hint), .. } = failure else { panic!("{failure:?}") };
    assert!(what.contains(&address) && hint.contains("stoker up"), "{what} {hint}");
}

#[tokio::test]
async fn the_token_is_read_from_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("admin.token"), "from-the-file\n").unwrap();
    let (address, serving) = server(vec![(404, json!({"title": "t", "detail": "none"}))]).await;
    let show = |from: &std::path::Path| {
        let line = format!("device show b --server {address} --data-dir {}", from.display());
        let Ok(Client::Device(mut with)) = parse(&line) else { panic!() };
        // Whoever runs this may have one in the environment.
        with.globals.platform.token = None;
        perform(Client::Device(with))
    };
    let Failure::Failed { what, .. } = show(directory.path()).await.unwrap_err() else { panic!() };
    assert_eq!(what, "none");
    assert!(serving.await.unwrap()[0].to_lowercase().contains("bearer from-the-file"));
    let Failure::Failed { hint, .. } = show(&directory.path().join("nowhere")).await.unwrap_err() else {
        panic!()
    };
    assert!(hint.unwrap().contains("STOKER_TOKEN"));
}

#[tokio::test]
async fn a_server_that_is_no_url_is_wrong_use() {
    for server in ["localhost:8080", "ftp://a", "nonsense", "http://user:secret@127.0.0.1"] {
        let failure =
            perform(parse(&format!("status --server {server} --token x")).unwrap()).await.unwrap_err();
        assert!(matches!(failure, Failure::Use(_)), "{server}: {failure:?}");
    }
}

#[tokio::test]
async fn the_path_of_the_api_may_stand_in_the_servers_address() {
    let (address, serving) = server(vec![(404, json!({"title": "t", "detail": "none"}))]).await;
    perform(parse(&format!("device show b --server {address}/x/api/v1/ --token t")).unwrap())
        .await
        .unwrap_err();
    assert_eq!(target(&serving.await.unwrap()[0]), "/x/api/v1/devices/b");
}

#[tokio::test]
async fn a_wrong_token_says_where_it_was_found() {
    let problem =
        json!({"type": "urn:stoker:problem:unauthenticated", "title": "t", "status": 401, "detail": "d"});
    let (address, serving) = server(vec![(401, problem)]).await;
    let failure = perform(parse(&format!("status --server {address} --token t")).unwrap()).await.unwrap_err();
    serving.await.unwrap();
    assert!(failure.to_string().contains("STOKER_TOKEN"), "{failure}");
}

#[tokio::test]
async fn one_that_cannot_be_removed_keeps_no_other_back() {
    let refused =
        json!({"type": "urn:stoker:problem:not_found", "title": "t", "status": 404, "detail": "gone"});
    let (address, serving) = server(vec![(404, refused), (200, json!({}))]).await;
    let line = format!("device remove a b --server {address} --token t");
    let failure = perform(parse(&line).unwrap()).await.unwrap_err();
    assert!(failure.to_string().starts_with("1 of 2"), "{failure}");
    assert_eq!(serving.await.unwrap().len(), 2);
}

#[tokio::test]
async fn whoever_stops_waiting_is_told_which_command_it_is() {
    let (address, serving) = server(vec![(202, command("queued", false))]).await;
    let line = format!("command send b m --wait --server {address} --token t");
    let failure = perform(parse(&line).unwrap()).await.unwrap_err();
    serving.await.unwrap();
    assert!(failure.to_string().contains("stoker command show cmd-0a-12-ff --wait"), "{failure}");
}

/// Whoever read it has gone.
struct Deaf;

impl Write for Deaf {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_import_whose_tokens_nobody_reads_stops_and_says_what_is_lost() {
    let fleet = tempfile::NamedTempFile::new().unwrap();
    let lines: String = (0..1_500).map(|n| format!("{{\"id\":\"d-{n}\"}}\n")).collect();
    std::fs::write(fleet.path(), lines).unwrap();
    for (form, tokens, says) in [
        (Form::Table, json!({"d-0": "stk_0", "d-1": "stk_1"}), "tokens lost: 2,"),
        (Form::Json, json!({"d-0": "stk_0"}), "tokens lost: 1,"),
    ] {
        let answer = json!({"tokens": tokens, "created": 1_000, "failed": []});
        let (address, serving) = server(vec![(200, answer)]).await;
        let line = format!("device import {} --server {address} --token secret", fleet.path().display());
        let Ok(Client::Device(with)) = parse(&line) else { panic!("{line}") };
        let (api, _) = with.prepare().unwrap();
        let output = Output::into(form, || Box::new(Deaf));
        let failure = with.command.run(&api, &output).await.unwrap_err();
        assert!(matches!(failure, Failure::Failed { .. }), "{failure:?}");
        let said = failure.to_string();
        assert!(said.contains(says) && said.contains("the first 1000 lines"), "{said}");
        assert_eq!(serving.await.unwrap().len(), 1);
    }
}
