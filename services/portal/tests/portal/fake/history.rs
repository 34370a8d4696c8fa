//! What the fake core does beyond a look-up.

use super::*;

impl Fake {
    pub(crate) fn points(&self, request: ListPointsRequest) -> Answer<ListPointsReply> {
        let device = id(request.device);
        let state = self.0.lock();
        state.devices.get(&device).ok_or_else(|| absent("device"))?;
        let wanted = |key: &String| request.keys.as_ref().is_none_or(|keys| keys.items.contains(key));
        let mut all: Vec<Point> = state
            .points
            .iter()
            .filter(|((of, ts, key), _)| {
                *of == device && (request.from..=request.to).contains(ts) && wanted(key)
            })
            .map(|(_, point)| point.clone())
            .collect();
        let descending = request.order == i32::from(Order::Descending);
        if descending {
            all.reverse();
        }
        if let (Some(ts), Some(key)) = (request.after_ts, request.after_key) {
            let after = (ts, key);
            all.retain(|point| {
                let at = (point.ts, point.key.clone());
                if descending { at < after } else { at > after }
            });
        }
        let (points, more) = cut(all, request.limit);
        Ok(Response::new(ListPointsReply { points, more }))
    }

    pub(crate) fn latest(&self, request: GetLatestRequest) -> Answer<GetLatestReply> {
        let device = id(request.device);
        let state = self.0.lock();
        state.devices.get(&device).ok_or_else(|| absent("device"))?;
        let mut newest = BTreeMap::new();
        for ((of, _, key), point) in &state.points {
            if *of == device && request.keys.as_ref().is_none_or(|keys| keys.items.contains(key)) {
                newest.insert(key.clone(), point.clone());
            }
        }
        Ok(Response::new(GetLatestReply { points: newest.into_values().collect() }))
    }

    /// Each number a part of its own.
    pub(crate) fn summary(&self, request: SummarizePointsRequest) -> Answer<SummarizePointsReply> {
        let device = id(request.device);
        let state = self.0.lock();
        state.devices.get(&device).ok_or_else(|| absent("device"))?;
        let numbers = state.points.iter().filter_map(|((of, ts, key), point)| {
            let wanted = *of == device && *key == request.key && (request.from..=request.to).contains(ts);
            let number = match point.value.as_ref()?.kind.as_ref()? {
                value::Kind::Integer(number) => *number as f64,
                value::Kind::Number(number) => *number,
                _ => return None,
            };
            let part = PointsSummary { ts: *ts, count: 1, min: number, max: number, mean: number };
            wanted.then_some(part)
        });
        let parts = numbers.collect();
        let part_ms = (request.to - request.from) / i64::from(request.parts) + 1;
        Ok(Response::new(SummarizePointsReply { parts, complete_from: request.from, part_ms }))
    }

    pub(crate) fn order(&self, request: CreateCommandRequest) -> Answer<CommandReply> {
        let device = id(request.device);
        let mut state = self.0.lock();
        state.devices.get(&device).ok_or_else(|| absent("device"))?;
        let number = state.commands.len() as u64 + 1;
        if number > 100 {
            return Err(ProblemKind::TooManyOpenCommands.status("at most 100 open commands for a device"));
        }
        let seconds = request.expires_in_s.unwrap_or(60);
        if seconds > 604_800 {
            return Err(ProblemKind::InvalidRequest.status("expires_in_s is at most 604800"));
        }
        let command = Command {
            id: format!("cmd-00-1-{number:x}"),
            device: key(&device),
            number,
            method: request.method,
            params: Some(request.params).filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".to_owned()),
            state: CommandState::Queued.into(),
            created_at: NOW,
            expires_at: NOW + i64::from(seconds) * 1_000,
            ..Command::default()
        };
        state.commands.insert(command.id.clone(), command.clone());
        Ok(Response::new(CommandReply { command: Some(command) }))
    }

    pub(crate) fn commands(&self, request: ListCommandsRequest) -> Answer<ListCommandsReply> {
        let device = id(request.device);
        let state = self.0.lock();
        state.devices.get(&device).ok_or_else(|| absent("device"))?;
        let fits = |command: &&Command| {
            command.device.as_ref().unwrap().device == device
                && request.state.is_none_or(|state| command.state == state)
                && request.after.as_ref().is_none_or(|after| command.id < *after)
        };
        let (commands, more) =
            cut(state.commands.values().rev().filter(fits).cloned().collect(), request.limit);
        Ok(Response::new(ListCommandsReply { commands, more }))
    }

    pub(crate) fn cancel(&self, request: CancelCommandRequest) -> Answer<CommandReply> {
        let mut state = self.0.lock();
        let command = state.commands.get_mut(&request.id).ok_or_else(|| absent("command"))?;
        if command.ended_at.is_some() {
            return Err(ProblemKind::CommandEnded.status("the command has ended already"));
        }
        command.state = CommandState::Cancelled.into();
        command.ended_at = Some(NOW);
        Ok(Response::new(CommandReply { command: Some(command.clone()) }))
    }

    pub(crate) fn events(&self, request: ListEventsRequest) -> Answer<ListEventsReply> {
        let state = self.0.lock();
        let fits = |event: &&Event| {
            (request.from..=request.to).contains(&event.ts)
                && request.kind.as_ref().is_none_or(|kind| event.kind == *kind)
                && request.device.as_ref().is_none_or(|of| event.device.as_ref().unwrap().device == *of)
                && request.after_ts.is_none_or(|ts| event.ts < ts)
        };
        let mut all: Vec<Event> = state.events.iter().filter(fits).cloned().collect();
        all.sort_by_key(|event| std::cmp::Reverse(event.ts));
        let (events, more) = cut(all, request.limit);
        Ok(Response::new(ListEventsReply { events, more }))
    }

    pub(crate) fn alarms(&self, request: ListAlarmsRequest) -> Answer<ListAlarmsReply> {
        let state = self.0.lock();
        let fits = |alarm: &&Alarm| {
            request.state.is_none_or(|state| alarm.state == state)
                && request.severity.is_none_or(|severity| alarm.severity == severity)
                && request.device.as_ref().is_none_or(|of| alarm.device.as_ref().unwrap().device == *of)
                && request.after_raised_at.is_none_or(|at| alarm.raised_at < at)
        };
        let mut all: Vec<Alarm> = state.alarms.values().filter(fits).cloned().collect();
        all.sort_by_key(|alarm| std::cmp::Reverse(alarm.raised_at));
        let (alarms, more) = cut(all, request.limit);
        Ok(Response::new(ListAlarmsReply { alarms, more, slots: Vec::new() }))
    }

    pub(crate) fn subscribe(&self, request: CreateSubscriptionRequest) -> Answer<SubscriptionReply> {
        let mut state = self.0.lock();
        let id = format!("sub-{}", state.subscriptions.len() + 1);
        let subscription = Subscription {
            id: id.clone(),
            organization: request.organization,
            name: request.name,
            r#match: request.r#match,
            deliver: request.deliver,
            created_at: NOW,
        };
        state.subscriptions.insert(id, subscription.clone());
        Ok(Response::new(SubscriptionReply { subscription: Some(subscription) }))
    }

    /// Each subscription is tested once.
    pub(crate) fn test(&self, request: TestSubscriptionRequest) -> Answer<TestSubscriptionReply> {
        let mut state = self.0.lock();
        if !state.subscriptions.contains_key(&request.id) {
            return Err(absent("subscription"));
        }
        if state.notifications.iter().any(|told| told.test && told.subscription == request.id) {
            return Err(ProblemKind::TooManyTests.status("a subscription is tested once in 10 s"));
        }
        let id = format!("ntf-00-1-{:x}", state.notifications.len() + 1);
        state.notifications.push(Notification {
            id: id.clone(),
            alarm: "alm-00-1-7".to_owned(),
            device: key(&request.id),
            subscription: request.id,
            channel: "email".to_owned(),
            to: "night@example.com".to_owned(),
            state: NotificationState::Pending.into(),
            step: NotificationStep::Raised.into(),
            test: true,
            created_at: NOW,
            ..Notification::default()
        });
        Ok(Response::new(TestSubscriptionReply { notifications: vec![id] }))
    }
}

/// An active alarm.
pub(crate) fn alarm(number: u64, device: &str, severity: Severity, text: &str) -> Alarm {
    Alarm {
        id: format!("alm-00-1-{number:x}"),
        device: key(device),
        kind: AlarmKind::Fault.into(),
        code: "E42".to_owned(),
        severity: severity.into(),
        text: text.to_owned(),
        state: AlarmState::Active.into(),
        acknowledged: None,
        raised_at: NOW + number as i64,
        cleared_at: None,
        count: 1,
    }
}
