//! Commands.

use std::cmp::Reverse;
use std::time::Duration;

use stoker_domain::machine::{CommandRefusal, CreateCommand, Input, Reply};
use stoker_domain::model::{Command, CommandId, OrganizationId};
use stoker_domain::ports::store::CommandsQuery;
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use stoker_proto::problem::ProblemKind;
use tonic::Status;

use super::lists;
use super::portal::Portals;
use super::{slot_status, store_status, wrong_reply};

/// The greatest wait for the end of a command.
const WAIT_MOST_MS: u32 = 60_000;

/// Characters of a method's name.
const METHOD_MOST: usize = 128;

fn no_command(id: &str) -> Status {
    ProblemKind::NotFound.status(format!("there is no command {id}"))
}

fn reply(command: Command) -> wire::CommandReply {
    wire::CommandReply { command: Some(convert::command_to_wire(command)) }
}

fn refusal(refusal: CommandRefusal, what: &str) -> Status {
    match refusal {
        CommandRefusal::NotFound => ProblemKind::NotFound.status(format!("there is no {what}")),
        CommandRefusal::Ended(command) => ProblemKind::CommandEnded.status(format!(
            "the command {} has ended already: {}",
            command.id,
            command.state.as_str()
        )),
        CommandRefusal::TooManyOpen { limit } => ProblemKind::TooManyOpenCommands
            .status(format!("the device has as many open commands as it may: {limit}; cancel some or wait")),
    }
}

impl Portals {
    pub(super) async fn make_command(
        &self,
        request: wire::CreateCommandRequest,
    ) -> Result<wire::CommandReply, Status> {
        let invalid = |detail: String| ProblemKind::InvalidRequest.status(detail);
        let device = convert::device_key(request.device.as_ref())?;
        let settings = &self.shared.settings;
        if request.method.is_empty() || request.method.chars().count() > METHOD_MOST {
            return Err(invalid(format!("method has 1 to {METHOD_MOST} characters")));
        }
        let params = if request.params.is_empty() { "{}".to_owned() } else { request.params };
        if params.len() > settings.command_params_max {
            return Err(invalid(format!("params have at most {} bytes", settings.command_params_max)));
        }
        if serde_json::from_str::<&serde_json::value::RawValue>(&params).is_err() {
            return Err(invalid("params are no JSON".to_owned()));
        }
        let expires_in_s = request.expires_in_s.unwrap_or(settings.command_expires_in_s);
        if expires_in_s == 0 || expires_in_s > settings.command_expires_in_max_s {
            return Err(invalid(format!("expires_in_s is 1 to {}", settings.command_expires_in_max_s)));
        }
        let create = CreateCommand { device: device.clone(), method: request.method, params, expires_in_s };
        let input = Input::CreateCommand(create);
        let Reply::Command(result) = self.slots.apply(device.slot(), input).await.map_err(slot_status)?
        else {
            return Err(wrong_reply());
        };
        let what = format!("device {}", device.device);
        result.map(|command| reply(*command)).map_err(|refused| refusal(refused, &what))
    }

    async fn look_up_command(&self, organization: &OrganizationId, id: CommandId) -> Result<Command, Status> {
        let open = self.slots.query(id.slot(), move |machine| machine.command(id).cloned());
        let command = match open.await.map_err(slot_status)? {
            Some(command) => Some(command),
            None => self.shared.store.ended_command(id).await.map_err(|error| store_status(&error))?,
        };
        command
            .filter(|command| command.device.organization == *organization)
            .ok_or_else(|| no_command(&id.to_string()))
    }

    pub(super) async fn find_command(
        &self,
        request: wire::GetCommandRequest,
    ) -> Result<wire::CommandReply, Status> {
        let organization = convert::id("organization", &request.organization)?;
        // An id that is not of our making names nothing.
        let id: CommandId = request.id.parse().map_err(|_| no_command(&request.id))?;
        if request.wait_ms > WAIT_MOST_MS {
            return Err(ProblemKind::InvalidRequest.status("wait_s is at most 60"));
        }
        let mut waiter = if request.wait_ms > 0 { self.shared.waiters.wait(id) } else { None };
        let command = self.look_up_command(&organization, id).await?;
        if command.state.is_final() {
            return Ok(reply(command));
        }
        let Some(waiter) = waiter.as_mut() else { return Ok(reply(command)) };
        let wait = Duration::from_millis(u64::from(request.wait_ms));
        match tokio::time::timeout(wait, &mut waiter.ended).await {
            Ok(Ok(ended)) => Ok(reply(ended)),
            _ => Ok(reply(self.look_up_command(&organization, id).await?)),
        }
    }

    pub(super) async fn commands(
        &self,
        request: wire::ListCommandsRequest,
    ) -> Result<wire::ListCommandsReply, Status> {
        let limit = lists::limit(request.limit)?;
        let device = convert::device_key(request.device.as_ref())?;
        let state = request.state.map(convert::command_state_from_wire).transpose()?;
        let after: Option<CommandId> = request.after.map(|after| convert::id("after", &after)).transpose()?;
        self.look_up(&device).await?;
        let look = device.clone();
        let mut commands: Vec<Command> = self
            .slots
            .query(device.slot(), move |machine| machine.commands_of(&look).cloned().collect())
            .await
            .map_err(slot_status)?;
        commands.retain(|command| {
            state.is_none_or(|state| command.state == state) && after.is_none_or(|after| command.id < after)
        });
        let ended = CommandsQuery { device, state, after, limit: limit + 1 };
        commands.extend(self.shared.store.ended_commands(ended).await.map_err(|error| store_status(&error))?);
        let (commands, more) = lists::page(commands, limit, |command| Reverse(command.id));
        let commands = commands.into_iter().map(convert::command_to_wire).collect();
        Ok(wire::ListCommandsReply { commands, more })
    }

    pub(super) async fn take_command_back(
        &self,
        request: wire::CancelCommandRequest,
    ) -> Result<wire::CommandReply, Status> {
        let organization = convert::id("organization", &request.organization)?;
        let id: CommandId = request.id.parse().map_err(|_| no_command(&request.id))?;
        let command = self.look_up_command(&organization, id).await?;
        if command.state.is_final() {
            return Err(refusal(CommandRefusal::Ended(Box::new(command)), ""));
        }
        let Reply::Command(result) =
            self.slots.apply(id.slot(), Input::CancelCommand(id)).await.map_err(slot_status)?
        else {
            return Err(wrong_reply());
        };
        result.map(|command| reply(*command)).map_err(|refused| refusal(refused, &format!("command {id}")))
    }
}
