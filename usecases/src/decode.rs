//! Reading stories strictly: what is not understood is refused, with the file, the line and the way out.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml::{Mapping, Value};

use crate::model::{Asks, Method, Step, Story};
use crate::names;

/// A file of a story. A hundred lines a case and twenty cases are far below.
const MOST_BYTES: u64 = 64 * 1024;
/// Stories of one folder: they are read by people.
const MOST_STORIES: usize = 50;
/// Cases of one story.
const MOST_CASES: usize = 40;
/// Steps of one case: what has more is several cases.
const MOST_STEPS: usize = 40;
/// The name of a story or a case: it is a sentence, on one line.
const LONGEST_NAME: usize = 120;

/// Why a story cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file or folder.
    #[error("failed to read {}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// What stands in it. The message names line and column where it can.
    #[error("{file}: {what}")]
    Form {
        /// Which file.
        file: String,
        /// What is wrong, and where.
        what: String,
    },
}

/// The stories of the project itself.
#[must_use]
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stories")
}

/// Reads all stories of a folder, by the names of their files.
///
/// # Errors
/// [`Unreadable`] at the first that is not as it should be, and when there is none.
pub fn read_all(folder: &Path) -> Result<Vec<Story>, Unreadable> {
    let failed = |error| Unreadable::File(folder.to_owned(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    let form = |what: String| Unreadable::Form { file: folder.display().to_string(), what };
    if files.is_empty() || files.len() > MOST_STORIES {
        return Err(form(format!("a folder has 1 to {MOST_STORIES} stories (*.yaml), not {}", files.len())));
    }
    files.sort();
    let mut stories: Vec<Story> = Vec::new();
    for path in files {
        let size = fs::metadata(&path).map_err(|error| Unreadable::File(path.clone(), error))?.len();
        if size > MOST_BYTES {
            let file = path.display().to_string();
            return Err(Unreadable::Form { file, what: format!("a story has at most {MOST_BYTES} bytes") });
        }
        let text = fs::read_to_string(&path).map_err(|error| Unreadable::File(path.clone(), error))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let story = read(&file, &text)?;
        if let Some(other) = stories.iter().find(|other| other.name == story.name) {
            let what = format!("{:?} is the name of {}.yaml, too", story.name, other.id);
            return Err(Unreadable::Form { file, what });
        }
        stories.push(story);
    }
    Ok(stories)
}

/// Reads one story, whose file is called so.
///
/// # Errors
/// [`Unreadable::Form`]
pub fn read(file: &str, text: &str) -> Result<Story, Unreadable> {
    let form = |what: String| Unreadable::Form { file: file.to_owned(), what };
    let mut story: Story = serde_yaml::from_str(text).map_err(|error| form(error.to_string()))?;
    story.id = file.trim_end_matches(".yaml").to_owned();
    check(&story).map_err(form)?;
    Ok(story)
}

/// What the form alone does not say.
fn check(story: &Story) -> Result<(), String> {
    sentence(&story.name)?;
    if story.cases.is_empty() || story.cases.len() > MOST_CASES {
        return Err(format!("a story has 1 to {MOST_CASES} cases, not {}", story.cases.len()));
    }
    for (index, case) in story.cases.iter().enumerate() {
        sentence(&case.name)?;
        let about = |what: String| format!("case {:?}: {what}", case.name);
        if story.cases[..index].iter().any(|other| other.name == case.name) {
            return Err(about("another case of this story is called so".to_owned()));
        }
        if case.when.is_empty() || case.then.is_empty() {
            return Err(about(
                "nothing is done, or nothing comes of it: `when` and `then` have steps".to_owned(),
            ));
        }
        let count = case.steps().count();
        if count > MOST_STEPS {
            return Err(about(format!("a case has at most {MOST_STEPS} steps, not {count}: make two of it")));
        }
        names::check(case).map_err(about)?;
    }
    Ok(())
}

fn sentence(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\n') {
        return Err(format!("a name has 1 to {LONGEST_NAME} bytes on one line: {name:?}"));
    }
    Ok(())
}

/// The first words of steps.
const KINDS: [&str; 16] = [
    "device",
    "connects",
    "subscribes",
    "publishes",
    "receives",
    "disconnects",
    "cut",
    "closed",
    "get",
    "post",
    "patch",
    "delete",
    "listens",
    "hears",
    "receiver",
    "told",
];

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneStep;
        impl<'de> Visitor<'de> for OneStep {
            type Value = Step;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a step, which begins with its kind")
            }

            // What fails in here is told with the line of this step.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Step, A::Error> {
                let step = Mapping::deserialize(MapAccessDeserializer::new(map))?;
                of(step).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_map(OneStep)
    }
}

fn of(mut step: Mapping) -> Result<Step, String> {
    let first = step.keys().next().and_then(Value::as_str).unwrap_or_default().to_owned();
    let asks = |method, step: &mut Mapping| {
        let path = step.remove(first.as_str()).unwrap_or_default();
        let path = path.as_str().ok_or_else(|| format!("{first}: a path stands here"))?.to_owned();
        Ok(Step::Asks(Asks { method, path, more: rest(&first, std::mem::take(step))? }))
    };
    match first.as_str() {
        "device" => rest(&first, step).map(Step::Device),
        "connects" => rest(&first, step).map(Step::Connects),
        "subscribes" => rest(&first, step).map(Step::Subscribes),
        "publishes" => rest(&first, step).map(Step::Publishes),
        "receives" => rest(&first, step).map(Step::Receives),
        "disconnects" => rest(&first, step).map(Step::Disconnects),
        "cut" => rest(&first, step).map(Step::Cut),
        "closed" => rest(&first, step).map(Step::Closed),
        "get" => asks(Method::Get, &mut step),
        "post" => asks(Method::Post, &mut step),
        "patch" => asks(Method::Patch, &mut step),
        "delete" => asks(Method::Delete, &mut step),
        "listens" => rest(&first, step).map(Step::Listens),
        "hears" => rest(&first, step).map(Step::Hears),
        "receiver" => rest(&first, step).map(Step::Receiver),
        "told" => rest(&first, step).map(Step::Told),
        other => Err(format!("{other:?} is no kind of step; a step begins with one of {}", KINDS.join(", "))),
    }
}

fn rest<T: DeserializeOwned>(kind: &str, step: Mapping) -> Result<T, String> {
    serde_yaml::from_value(Value::Mapping(step)).map_err(|error| format!("{kind}: {error}"))
}

#[cfg(test)]
mod tests;
