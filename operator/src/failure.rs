//! What goes wrong with calls to the API server, and what follows from it.

use std::fmt;

/// Why a call has not done what it was to do. `what` is such as `apply Deployment edge-1a2b3c4d5e`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Somebody has changed the object meanwhile: what is to be done is decided anew.
    Conflict {
        /// The call.
        what: String,
    },
    /// The same call will be refused again, until somebody has changed something.
    Refused {
        /// The call.
        what: String,
        /// In the API server's words, and the way out.
        why: String,
        /// The API server has no such object.
        missing: bool,
    },
    /// The API server fails at this call, or a webhook that it asks. Others may well succeed.
    Failing {
        /// The call.
        what: String,
        /// In its words.
        why: String,
    },
    /// This call is not answered in time. Others may well be.
    Silent {
        /// The call.
        what: String,
        /// How long it was waited for.
        why: String,
    },
    /// Nobody answers, or not now.
    Unavailable {
        /// The call.
        what: String,
        /// As far as it is known.
        why: String,
    },
    /// Another process leads.
    NotLeading,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { what } => write!(f, "failed to {what}: it has changed meanwhile"),
            Self::Refused { what, why, .. }
            | Self::Failing { what, why }
            | Self::Silent { what, why }
            | Self::Unavailable { what, why } => write!(f, "failed to {what}: {why}"),
            Self::NotLeading => f.write_str("another operator leads"),
        }
    }
}

impl Failure {
    /// What the failure of the call `what` means.
    pub(crate) fn of(what: &str, error: &kube::Error) -> Self {
        let what = what.to_owned();
        let why = explained(error);
        match error {
            kube::Error::Api(status) => match status.code {
                409 | 410 => Self::Conflict { what },
                401 | 429 => Self::Unavailable { what, why },
                // A webhook that fails is said by 500, and what it answers by whichever it likes.
                408 | 500.. => Self::Failing { what, why },
                code => Self::Refused { what, why, missing: code == 404 },
            },
            _ => Self::Unavailable { what, why },
        }
    }
}

impl Failure {
    /// Whether it says something about this one call, and nothing about the next.
    pub(crate) fn is_of_one(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Refused { .. } | Self::Failing { .. } | Self::Silent { .. } => true,
            Self::Unavailable { .. } | Self::NotLeading => false,
        }
    }

    /// Of a call about an object that was there: when it is gone, it has changed.
    pub(crate) fn gone_is_changed(self) -> Self {
        match self {
            Self::Refused { what, missing: true, .. } => Self::Conflict { what },
            other => other,
        }
    }
}

/// An error of the API server or of the way to it, with the way out where there is one.
pub(crate) fn explained(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { return stoker_telemetry::chain(error) };
    let message = if status.message.is_empty() { &status.reason } else { &status.message };
    let way_out = match status.code {
        // In its words, with verb and resource: `… cannot patch resource "deployments" in API group "apps" …`.
        403 if message.contains(" cannot ") => {
            ": grant it by a role, see \"Permissions\" in the operator's documentation"
        }
        401 => ": the credentials of the operator are not taken; see its ServiceAccount or its kubeconfig",
        _ => "",
    };
    format!("{message}{way_out}")
}

/// Why the resources of `plural` (`gateways.stoker.dev`) cannot be watched, and what to do.
pub(crate) fn unwatched(plural: &str, error: &kube::runtime::watcher::Error) -> String {
    use kube::runtime::watcher::Error;
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
            if status.code == 404 =>
        {
            if plural.ends_with(stoker_crds::GROUP) {
                format!(
                    "the API server does not know {plural}: install Stoker's custom resource definitions, by its Helm \
                     chart or by `kubectl apply --server-side -f crds/generated`"
                )
            } else {
                format!("the API server does not know {plural}")
            }
        }
        Error::InitialListFailed(error) => format!("failed to list {plural}: {}", explained(error)),
        Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            format!("failed to watch {plural}: {}", explained(error))
        }
        other => format!("failed to watch {plural}: {}", stoker_telemetry::chain(other)),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::runtime::watcher;

    use super::*;

    fn error(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "Because").with_code(code).boxed())
    }

    #[test]
    fn what_helps_decides_what_follows() {
        let what = "apply Service edge-gateway";
        for code in [409, 410] {
            assert_eq!(Failure::of(what, &error(code, "")), Failure::Conflict { what: what.to_owned() });
        }
        for code in [400, 403, 404, 413, 422] {
            assert!(matches!(Failure::of(what, &error(code, "no")), Failure::Refused { .. }), "{code}");
        }
        for code in [408, 500, 503, 504] {
            let failure = Failure::of(what, &error(code, "no"));
            assert!(matches!(failure, Failure::Failing { .. }) && failure.is_of_one(), "{code}");
        }
        for code in [401, 429] {
            let failure = Failure::of(what, &error(code, "no"));
            assert!(matches!(failure, Failure::Unavailable { .. }) && !failure.is_of_one(), "{code}");
        }
        let lost = kube::Error::Service("connection refused".into());
        let said = Failure::of(what, &lost).to_string();
        assert!(
            said.starts_with("failed to apply Service edge-gateway: ")
                && said.ends_with("connection refused")
        );
    }

    #[test]
    fn what_is_gone_has_changed() {
        let gone = Failure::of("scale Deployment a", &error(404, "not found"));
        assert_eq!(gone.gone_is_changed(), Failure::Conflict { what: "scale Deployment a".to_owned() });
        let refused = Failure::of("scale Deployment a", &error(422, "no"));
        assert_eq!(refused.clone().gone_is_changed(), refused);
    }

    #[test]
    fn what_is_not_permitted_is_named_with_the_way_out() {
        let message = "deployments.apps is forbidden: User \"x\" cannot patch resource \"deployments\" in API group \"apps\"";
        let said = explained(&error(403, message));
        assert!(said.starts_with(message) && said.contains("grant it by a role"), "{said}");
        let quota = "pods is forbidden: exceeded quota: q";
        assert_eq!(explained(&error(403, quota)), quota);
    }

    #[test]
    fn missing_definitions_are_said_with_the_way_out() {
        let missing = watcher::Error::InitialListFailed(error(404, "404 page not found"));
        let said = unwatched("gateways.stoker.dev", &missing);
        assert!(said.contains("does not know gateways.stoker.dev: install"), "{said}");
        assert!(!unwatched("pods", &missing).contains("install"));
        // They were there, and somebody has deleted them.
        let gone = watcher::Error::WatchStartFailed(error(404, "404 page not found"));
        assert_eq!(unwatched("gateways.stoker.dev", &gone), said);
    }
}
