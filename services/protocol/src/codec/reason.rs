//! Reason codes of MQTT 5, which also name the return codes of 3.1.1.

use std::fmt;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// A reason code of MQTT 5.
        ///
        /// The return codes of a 3.1.1 CONNACK are mapped onto it ([`ReasonCode::from_connect_return`]);
        /// those of a 3.1.1 SUBACK are the same numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ReasonCode { $($(#[$doc])* $name = $value,)* }

        impl ReasonCode {
            /// Every reason code there is, in rising order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason code with this number; none when MQTT 5 doesn't define it.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// What it says, in lower case, for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reason_codes! {
    /// Success; also "normal disconnection" and "granted QoS 0".
    Success = 0x00, "success";
    /// SUBACK: granted QoS 1.
    GrantedQos1 = 0x01, "granted qos 1";
    /// SUBACK: granted QoS 2.
    GrantedQos2 = 0x02, "granted qos 2";
    /// DISCONNECT: the client goes, and wants its will to be published.
    DisconnectWithWill = 0x04, "disconnect with will message";
    /// The message was taken, nobody subscribed to it.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// UNSUBACK: there was nothing to end.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// AUTH: another step is needed.
    ContinueAuthentication = 0x18, "continue authentication";
    /// AUTH: the client starts over.
    ReAuthenticate = 0x19, "re-authenticate";
    /// No reason is given.
    UnspecifiedError = 0x80, "unspecified error";
    /// Bytes that are no MQTT packet.
    MalformedPacket = 0x81, "malformed packet";
    /// A packet that is not allowed here.
    ProtocolError = 0x82, "protocol error";
    /// Valid, but not taken by this implementation.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// The protocol version is not spoken.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// The client identifier is not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// User name or password are wrong.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// It is not allowed.
    NotAuthorized = 0x87, "not authorized";
    /// The server can't serve.
    ServerUnavailable = 0x88, "server unavailable";
    /// The server has too much to do: try again later.
    ServerBusy = 0x89, "server busy";
    /// The client was locked out.
    Banned = 0x8A, "banned";
    /// The server goes down.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// The authentication method is not supported.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// No packet within one and a half times the keep-alive.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// Another connection took over.
    SessionTakenOver = 0x8E, "session taken over";
    /// The topic filter is not allowed.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// The topic name is not allowed.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// The packet identifier is already in use.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// More unacknowledged publishes than allowed.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// A topic alias of 0, above the maximum, or never set.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// A packet larger than allowed.
    PacketTooLarge = 0x95, "packet too large";
    /// Messages come too fast.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// A bound was reached.
    QuotaExceeded = 0x97, "quota exceeded";
    /// An administrator did it.
    AdministrativeAction = 0x98, "administrative action";
    /// The payload is not what it has to be.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A, "retain not supported";
    /// The QoS is not supported.
    QosNotSupported = 0x9B, "qos not supported";
    /// Use another server for now.
    UseAnotherServer = 0x9C, "use another server";
    /// Use another server from now on.
    ServerMoved = 0x9D, "server moved";
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// The connection was open for as long as it may be.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// Wildcards in filters are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// The number on the wire.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self.value() >= 0x80
    }

    /// The 3.1.1 CONNACK return code (0–5) as a reason code; none for other numbers.
    pub const fn from_connect_return(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The 3.1.1 CONNACK return code that says it; none where 3.1.1 has no word for it.
    pub const fn connect_return(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized => Some(5),
            _ => None,
        }
    }

    /// Whether MQTT 5 allows it in CONNACK.
    pub const fn valid_in_connack(self) -> bool {
        matches!(
            self.value(),
            0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F
        )
    }

    /// Whether MQTT 5 allows it in PUBACK and PUBREC.
    pub const fn valid_in_puback(self) -> bool {
        matches!(self.value(), 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
    }

    /// Whether MQTT 5 allows it in PUBREL and PUBCOMP.
    pub const fn valid_in_pubrel(self) -> bool {
        matches!(self.value(), 0x00 | 0x92)
    }

    /// Whether MQTT 5 allows it in SUBACK.
    pub const fn valid_in_suback(self) -> bool {
        matches!(self.value(), 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
    }

    /// Whether MQTT 5 allows it in UNSUBACK.
    pub const fn valid_in_unsuback(self) -> bool {
        matches!(self.value(), 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
    }

    /// Whether MQTT 5 allows it in DISCONNECT.
    pub const fn valid_in_disconnect(self) -> bool {
        matches!(
            self.value(),
            0x00 | 0x04
                | 0x80..=0x83
                | 0x87
                | 0x89
                | 0x8B
                | 0x8D..=0x90
                | 0x93..=0x9B
                | 0x9C..=0xA2
        )
    }

    /// Whether MQTT 5 allows it in AUTH.
    pub const fn valid_in_auth(self) -> bool {
        matches!(self.value(), 0x00 | 0x18 | 0x19)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_reason_codes_name_each_other() {
        for code in ReasonCode::ALL {
            assert_eq!(ReasonCode::from_u8(code.value()), Some(*code));
        }
        let defined = (0..=255).filter(|n| ReasonCode::from_u8(*n).is_some()).count();
        assert_eq!(defined, ReasonCode::ALL.len());
        assert_eq!(defined, 43, "MQTT 5 section 2.4 defines 43 numbers");
    }

    #[test]
    fn connect_return_codes_of_3_1_1_survive_the_mapping() {
        for code in 0..=255 {
            match ReasonCode::from_connect_return(code) {
                Some(reason) => assert_eq!(reason.connect_return(), Some(code)),
                None => assert!(code > 5),
            }
        }
    }
}
