//! Orders to a gateway.

use stoker_domain as domain;
use stoker_domain::ports::bus::{GatewayOrder, ToGateway};

use crate::bus::v1 as bus;
use crate::convert::{
    WireError, device_key, device_ref, end_reason_from_wire, end_reason_to_wire, epoch_from_wire,
    epoch_to_wire, id,
};

/// To the bus.
#[must_use]
pub fn to_gateway_to_bus(message: ToGateway) -> bus::ToGateway {
    use bus::to_gateway::{Attributes, Close, Command, Order, Withdraw};
    let order = match message.order {
        GatewayOrder::Command { id, number, method, params, expires_at } => {
            Order::Command(Command { id: id.to_string(), number, method, params, expires_at })
        }
        GatewayOrder::Withdraw { id } => Order::Withdraw(Withdraw { id: id.to_string() }),
        GatewayOrder::Attributes { json } => Order::Attributes(Attributes { json }),
        GatewayOrder::Close { reason } => Order::Close(Close { reason: end_reason_to_wire(reason) }),
    };
    bus::ToGateway {
        slot: u32::from(message.slot.0),
        epoch: message.epoch.0,
        device: Some(device_ref(&message.device)),
        session: Some(epoch_to_wire(message.session)),
        order: Some(order),
    }
}

/// From the bus.
///
/// # Errors
/// When a part of it is missing or none, or when it is an order that this version does not know.
pub fn to_gateway_from_bus(message: bus::ToGateway) -> Result<ToGateway, WireError> {
    use bus::to_gateway::Order;
    let order = match message.order.ok_or(WireError::Unknown("order"))? {
        Order::Command(command) => GatewayOrder::Command {
            id: id("command id", &command.id)?,
            number: command.number,
            method: command.method,
            params: command.params,
            expires_at: command.expires_at,
        },
        Order::Withdraw(withdraw) => GatewayOrder::Withdraw { id: id("command id", &withdraw.id)? },
        Order::Attributes(attributes) => GatewayOrder::Attributes { json: attributes.json },
        Order::Close(close) => GatewayOrder::Close { reason: end_reason_from_wire(close.reason)? },
    };
    Ok(ToGateway {
        slot: domain::Slot(u8::try_from(message.slot).map_err(|_| WireError::Range("slot"))?),
        epoch: domain::SlotEpoch(message.epoch),
        device: device_key(message.device.as_ref())?,
        session: epoch_from_wire(message.session)?,
        order,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(order: GatewayOrder) -> ToGateway {
        ToGateway {
            slot: domain::Slot(255),
            epoch: domain::SlotEpoch(7),
            device: domain::DeviceKey::new("default".parse().unwrap(), "door-1".parse().unwrap()),
            session: domain::SessionEpoch { slot: domain::SlotEpoch(6), counter: 5 },
            order,
        }
    }

    #[test]
    fn orders_come_back_whole() {
        let id = domain::CommandId(domain::MintedId {
            slot: domain::Slot(255),
            epoch: domain::SlotEpoch(7),
            counter: 1,
        });
        for order in [
            GatewayOrder::Command {
                id,
                number: 4,
                method: "open".into(),
                params: "{}".into(),
                expires_at: 60_000,
            },
            GatewayOrder::Withdraw { id },
            GatewayOrder::Attributes { json: r#"{"t":null}"#.into() },
            GatewayOrder::Close { reason: domain::EndReason::TakenOver },
        ] {
            let message = message(order);
            assert_eq!(to_gateway_from_bus(to_gateway_to_bus(message.clone())), Ok(message));
        }
    }

    #[test]
    fn an_order_of_a_later_version_is_refused_and_not_guessed() {
        let good = || to_gateway_to_bus(message(GatewayOrder::Attributes { json: "{}".into() }));
        let unknown = bus::ToGateway { order: None, ..good() };
        assert_eq!(to_gateway_from_bus(unknown), Err(WireError::Unknown("order")));
        let slot = bus::ToGateway { slot: 256, ..good() };
        assert_eq!(to_gateway_from_bus(slot), Err(WireError::Range("slot")));
    }
}
