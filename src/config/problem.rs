//! What is wrong in the configuration: every problem with its place and its remedy, all of them at once.

use std::fmt;

use serde::Serialize;

/// One thing to mend. Shown as `config/campaigns/x.toml:12: schedule.start: what; remedy: how`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    pub file: String,
    /// From 1; 0 where the problem is about the whole file.
    pub line: usize,
    /// Dotted, `schedule.start`; empty where the problem is about the whole file.
    pub key: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}; remedy: {}", self.what, self.remedy)
    }
}

/// All problems found, in order of file and line; never none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `value`, unless anything is wrong; a missing value is one of the problems found.
    pub fn or<T>(mut found: Vec<Problem>, value: Option<T>) -> Result<T, Problems> {
        found = Problems::sorted(found);
        value.filter(|_| found.is_empty()).ok_or(Problems(found))
    }

    /// In order of file and line, each once.
    pub fn sorted(mut found: Vec<Problem>) -> Vec<Problem> {
        found.sort();
        found.dedup();
        found
    }

    pub fn one(file: String, what: impl Into<String>, remedy: impl Into<String>) -> Problems {
        Problems(vec![Problem { file, line: 0, key: String::new(), what: what.into(), remedy: remedy.into() }])
    }
}
