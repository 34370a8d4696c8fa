//! What is said and done about the certificates among the services.

use stoker_plan::Kind;
use stoker_plan::certificates::{Authorities, Certificates, Kept};

use crate::support::cluster::Cluster;
use crate::support::platform;
use crate::support::scene::Scene;

fn authorities(scene: &mut Scene) -> &mut Authorities {
    match &mut scene.cluster.certificates.authority {
        Kept::There(authorities) => authorities,
        other => panic!("{other:?}"),
    }
}

#[test]
fn they_are_made_before_anything_runs() {
    let mut scene = Scene::new("certificates-made", Cluster::new(platform::whole()));
    let all = std::mem::take(&mut scene.cluster.certificates);
    scene.step("there is no certificate, and no authority");
    scene.cluster.certificates.authority = all.authority.clone();
    scene.step("the authority is there");
    scene.cluster.certificates.services.insert(Kind::CoreShard, all.services[&Kind::CoreShard].clone());
    scene.step("cores have their certificate");
    scene.cluster.certificates = all;
    scene.step("all have theirs");
    scene.end();
}

#[test]
fn what_cannot_be_used_is_named_and_what_runs_goes_on() {
    let mut scene = Scene::at_rest("certificates-wrong", Cluster::new(platform::whole()));
    scene.cluster.certificates.authority = Kept::Foreign;
    scene.step("somebody has put another Secret in the place of the authority");
    scene.cluster.certificates.authority = Kept::Broken("tls.crt has no certificate".to_owned());
    scene.step("or has damaged it");
    scene.cluster.certificates.services.remove(&Kind::Gateway);
    scene.step("and has deleted a certificate beside");
    scene.cluster.certificates = platform::certificates();
    scene.cluster.certificates.services.insert(Kind::Gateway, Kept::Foreign);
    scene.step("all is back, but for a certificate that somebody else has made");
    let mut held = platform::held(&platform::authority("first"));
    held.certificate = Err("tls.key does not belong to tls.crt".to_owned());
    scene.cluster.certificates.services.insert(Kind::Gateway, Kept::There(held));
    scene.step("one of ours that was changed: it is made anew");
    scene.end();
}

#[test]
fn an_authority_is_trusted_before_it_signs_and_until_all_that_it_signed_is_over() {
    let mut scene = Scene::at_rest("certificates-rotated", Cluster::new(platform::whole()));
    let (current, days) = (authorities(&mut scene).current.as_mut().unwrap(), 300 * 24 * 3600);
    (current.from, current.until) = (current.from - days, current.until - days);
    scene.step("two thirds of the authority's time are over");
    authorities(&mut scene).next = Some(platform::authority("second"));
    scene.step("its successor is there");
    let trusted: Vec<_> = authorities(&mut scene).trusted().cloned().collect();
    for held in scene.cluster.certificates.services.values_mut() {
        let Kept::There(held) = held else { panic!("{held:?}") };
        held.trusts = trusted.clone();
    }
    scene.step("all services have it");
    authorities(&mut scene).since = Some(platform::NOW - 60);
    scene.step("for a minute");
    authorities(&mut scene).since = Some(platform::NOW - 3600);
    scene.step("for an hour");
    let all = authorities(&mut scene);
    (all.former, all.current, all.since) = (all.current.take().into_iter().collect(), all.next.take(), None);
    scene.step("it signs now what is due, and nothing is yet");
    authorities(&mut scene).former[0].until = platform::NOW;
    scene.step("the former one is over, and something is signed by it");
    for held in scene.cluster.certificates.services.values_mut() {
        *held = Kept::There(platform::held(&platform::authority("second")));
    }
    scene.step("nothing is any more");
    scene.end();
}

#[test]
fn an_authority_that_was_lost_is_followed_by_one_that_is_trusted_first() {
    let mut scene = Scene::at_rest("certificates-authority-lost", Cluster::new(platform::whole()));
    scene.cluster.certificates.authority = Kept::Absent;
    scene.step("somebody has deleted the authority");
    scene.cluster.certificates.authority = Kept::There(Authorities {
        next: Some(platform::authority("second")),
        former: vec![platform::authority("first")],
        ..Authorities::default()
    });
    scene.step("there is another one, of which nobody knows");
    scene.cluster.certificates = Certificates::default();
    scene.step("somebody has deleted all of it");
    scene.end();
}
