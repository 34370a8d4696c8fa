//! Standard output.

use std::io::{self, IsTerminal, Write};

use serde::de::DeserializeOwned;

use super::api::not_json;
use super::failure::Failure;
use super::table::{Rows, pairs};
use super::{Form, Globals};

/// How and where answers are shown.
#[derive(Debug)]
pub(crate) struct Output {
    form: Form,
    /// Columns of the terminal; none when the output goes elsewhere, where lines are better left whole.
    width: Option<u16>,
    to: fn() -> Box<dyn Write>,
}

impl Output {
    pub(crate) fn of(globals: &Globals) -> Self {
        Self::new(globals.output)
    }

    pub(crate) fn new(form: Form) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(|| comfy_table::Table::new().width().unwrap_or(80));
        Self { form, width, to: || Box::new(io::stdout().lock()) }
    }

    /// One that goes elsewhere.
    #[cfg(test)]
    pub(crate) fn into(form: Form, to: fn() -> Box<dyn Write>) -> Self {
        Self { form, width: None, to }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Writes a text as it is.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut out = (self.to)();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Deaf),
            Err(error) => Err(Failure::failed(format!("failed to write to standard output: {error}"))),
        }
    }

    /// Prints a text and a line break.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{}\n", text.trim_end()))
    }

    /// Shows one thing: the API's JSON as it came, or what `show` picks of it, name by name.
    pub(crate) fn one<T: DeserializeOwned>(
        &self,
        json: &str,
        show: impl FnOnce(T) -> Vec<(&'static str, String)>,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return self.print(json);
        }
        let thing = serde_json::from_str(json).map_err(|_| not_json())?;
        self.print(&pairs(show(thing), self.width))
    }

    /// Shows the rows pushed since the last time.
    pub(crate) fn rows(&self, rows: &mut Rows) -> Result<(), Failure> {
        self.print(&rows.render(self.width))
    }

    /// Says that something was done, where there is nothing else to show.
    pub(crate) fn done(&self, text: &str) -> Result<(), Failure> {
        if self.is_json() { Ok(()) } else { self.print(text) }
    }
}
