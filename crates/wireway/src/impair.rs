//! What the command line, a schedule and `wireway link set` say of a cable: one table of settings for all three.
//!
//! A cable has two directions, `up` from the program and `down` to it. What is asked for is a list of [`Step`]s, each of which holds from
//! some time on or for some time; how the cable is at a given time follows from the list alone: the steps that hold then, in
//! their order, applied to a perfect cable.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use wireway::link::{Bursts, LinkConfig};

/// A setting of one direction.
struct Setting {
    name: &'static str,
    value: &'static str,
    help: &'static str,
    apply: fn(&mut LinkConfig, &str) -> Result<(), String>,
}

const SETTINGS: [Setting; 8] = [
    Setting {
        name: "delay",
        value: "TIME",
        help: "Time that each frame takes, each way, such as 80ms",
        apply: |config, text| set(&mut config.delay, time(text)),
    },
    Setting {
        name: "jitter",
        value: "TIME",
        help: "Up to so much time more, drawn for each frame; the order stays",
        apply: |config, text| set(&mut config.jitter, time(text)),
    },
    Setting {
        name: "loss",
        value: "SHARE",
        help: "Share of frames that are lost, such as 1%; or in bursts, gilbert:BEGIN,END[,BAD[,GOOD]] (chances a frame that a burst begins and \
               ends; losses in it, 100%, and outside, 0%)",
        apply: loss,
    },
    Setting {
        name: "rate",
        value: "RATE",
        help: "Bits a second, such as 20mbit, with all that Ethernet adds to a frame (38 bytes)",
        apply: |config, text| set(&mut config.rate, rate(text)),
    },
    Setting {
        name: "queue",
        value: "FRAMES",
        help: "Frames that wait where the rate holds them up; more are dropped [default: 1000]",
        apply: |config, text| set(&mut config.queue, text.parse().map_err(|_| "give a number of frames".to_owned())),
    },
    Setting {
        name: "reorder",
        value: "SHARE[,TIME]",
        help: "Share of frames that others overtake, and for how long they are held back [default: 1ms]",
        apply: reorder,
    },
    Setting {
        name: "duplicate",
        value: "SHARE",
        help: "Share of frames that arrive twice",
        apply: |config, text| set(&mut config.duplicate, share(text)),
    },
    Setting {
        name: "corrupt",
        value: "SHARE",
        help: "Share of frames that arrive with one bit flipped",
        apply: |config, text| set(&mut config.corrupt, share(text)),
    },
];

/// A direction of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
    Both,
}

const WAYS: [(&str, Way); 3] = [("", Way::Both), ("up-", Way::Up), ("down-", Way::Down)];

/// Settings that hold from `from` until `until`, if that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: Duration,
    pub until: Option<Duration>,
    pub way: Way,
    /// Names and values; checked.
    pub settings: Vec<(&'static str, String)>,
}

impl Step {
    /// A step of settings such as `delay=80ms`, or `outage`, that begins at once.
    pub fn parse<'a>(way: Way, words: impl IntoIterator<Item = &'a str>) -> Result<Step, String> {
        let mut settings = Vec::new();
        for word in words {
            let (name, value) = match word.split_once('=') {
                Some(pair) => pair,
                None if word == "outage" => ("loss", "100%"),
                None => return Err(format!("{word}: give SETTING=VALUE, or outage")),
            };
            let name = name.trim_start_matches("--");
            let setting = SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| {
                let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
                format!("{name}: no such setting; there are {}", names.join(", "))
            })?;
            (setting.apply)(&mut LinkConfig::default(), value).map_err(|e| format!("{name}={value}: {e}"))?;
            settings.push((setting.name, value.to_owned()));
        }
        if settings.is_empty() {
            return Err("give at least one SETTING=VALUE, or outage".into());
        }
        Ok(Step { from: Duration::ZERO, until: None, way, settings })
    }

    fn holds(&self, at: Duration) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// What is asked of a cable, over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impairments {
    steps: Vec<Step>,
}

impl Impairments {
    /// The options of the command line and, where there is one, the schedule behind them.
    pub fn new(options: Vec<Step>, schedule: Option<&str>) -> Result<Impairments, String> {
        let mut steps = options;
        for (number, line) in schedule.unwrap_or_default().lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            if let Some(first) = words.next() {
                steps.push(scheduled(first, words).map_err(|e| format!("line {}: {e}", number + 1))?);
            }
        }
        Ok(Impairments { steps })
    }

    /// One more step, from `now` on and for good.
    pub fn push(&mut self, now: Duration, step: Step) {
        // What is over need not be kept, nor what this step says otherwise.
        for old in self.steps.iter_mut().filter(|old| step.way == Way::Both || step.way == old.way) {
            old.settings.retain(|(name, _)| step.settings.iter().all(|(new, _)| new != name));
        }
        self.steps.retain(|old| !old.settings.is_empty() && old.until.is_none_or(|until| until > now));
        self.steps.push(Step { from: now, until: None, ..step });
    }

    /// How the cable is at a time, up and down, for IP packets of `mtu` bytes.
    pub fn at(&self, at: Duration, mtu: u16) -> [LinkConfig; 2] {
        let mut configs = [LinkConfig { mtu, ..LinkConfig::default() }, LinkConfig { mtu, ..LinkConfig::default() }];
        for step in self.steps.iter().filter(|step| step.holds(at)) {
            let [up, down] = &mut configs;
            let ways: &mut [&mut LinkConfig] = match step.way {
                Way::Up => &mut [up],
                Way::Down => &mut [down],
                Way::Both => &mut [up, down],
            };
            for config in ways {
                for (name, value) in &step.settings {
                    let setting = SETTINGS.iter().find(|setting| setting.name == *name);
                    // It was checked when the step was made.
                    let _ = setting.map(|setting| (setting.apply)(config, value));
                }
            }
        }
        configs
    }

    /// When the cable changes next after `at`.
    pub fn next_change(&self, at: Duration) -> Option<Duration> {
        self.steps.iter().flat_map(|step| [Some(step.from), step.until]).flatten().filter(|&time| time > at).min()
    }
}

/// A line of a schedule: `TIME [for TIME] [up|down] SETTING=VALUE…`.
fn scheduled<'a>(first: &str, words: impl Iterator<Item = &'a str>) -> Result<Step, String> {
    let mut words = words.peekable();
    let from = time(first)?;
    let until = match words.next_if_eq(&"for") {
        Some(_) => Some(from.saturating_add(time(words.next().ok_or("for: give a time")?)?)),
        None => None,
    };
    let way = way(&mut words);
    Ok(Step { from, until, ..Step::parse(way, words)? })
}

/// `up` or `down` at the front of `words`, or both.
pub fn way<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Way {
    match words.next_if(|word| matches!(*word, "up" | "down")) {
        Some("up") => Way::Up,
        Some(_) => Way::Down,
        None => Way::Both,
    }
}

fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

fn time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| "give a time, such as 80ms or 2s".into())
}

/// A share from 0 to 1, written in per cent.
fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(number) => number.parse::<f64>().ok().map(|percent| percent / 100.0),
        None if text == "0" => Some(0.0),
        None => None,
    };
    number.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "give a share in per cent, such as 1%".into())
}

fn rate(text: &str) -> Result<Option<u64>, String> {
    const UNITS: [(&str, f64); 4] = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];
    let text = text.to_ascii_lowercase();
    let found = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let rate = found.and_then(|(number, factor)| Some(number.trim().parse::<f64>().ok()? * factor));
    match rate {
        Some(rate) if (1.0..1e15).contains(&rate) => Ok(Some(rate as u64)),
        _ => Err("give a rate in bit, kbit, mbit or gbit a second, such as 20mbit".into()),
    }
}

fn loss(config: &mut LinkConfig, text: &str) -> Result<(), String> {
    let Some(model) = text.strip_prefix("gilbert:") else {
        (config.loss, config.bursts) = (share(text)?, None);
        return Ok(());
    };
    let shares: Vec<f64> = model.split(',').map(share).collect::<Result<_, _>>()?;
    let (&[begin, end], rest) = shares.split_first_chunk().ok_or("give gilbert:BEGIN,END[,BAD[,GOOD]]")?;
    let (bad, good) = match *rest {
        [] => (1.0, 0.0),
        [bad] => (bad, 0.0),
        [bad, good] => (bad, good),
        _ => return Err("give gilbert:BEGIN,END[,BAD[,GOOD]]".into()),
    };
    (config.loss, config.bursts) = (good, Some(Bursts { begin, end, loss: bad }));
    Ok(())
}

fn reorder(config: &mut LinkConfig, text: &str) -> Result<(), String> {
    let (part, by) = text.split_once(',').map_or((text, None), |(part, by)| (part, Some(by)));
    let by = by.map_or(Ok(LinkConfig::default().reorder_by), time)?;
    (config.reorder, config.reorder_by) = (share(part)?, by);
    Ok(())
}

/// The command line's options: each setting for both directions, and for each.
#[derive(Clone, Debug, Default)]
pub struct ImpairArgs {
    pub steps: Vec<Step>,
}

impl clap::Args for ImpairArgs {
    fn augment_args(mut command: Command) -> Command {
        for (prefix, way) in WAYS {
            for setting in &SETTINGS {
                let help = match way {
                    Way::Both => setting.help.to_owned(),
                    Way::Up => format!("The same, from the program only ({})", setting.name),
                    Way::Down => format!("The same, to the program only ({})", setting.name),
                };
                let name = format!("{prefix}{}", setting.name);
                let apply = setting.apply;
                let check = move |text: &str| apply(&mut LinkConfig::default(), text).map(|()| text.to_owned());
                let arg = Arg::new(name.clone()).long(name).value_name(setting.value).value_parser(check).help(help);
                // The two ways are told of in the long help.
                command = command.arg(arg.hide_short_help(way != Way::Both).help_heading("A bad network"));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for ImpairArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = ImpairArgs::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (prefix, way) in WAYS {
            let value = |setting: &Setting| matches.get_one::<String>(&format!("{prefix}{}", setting.name)).cloned();
            let given = SETTINGS.iter().filter_map(|setting| Some((setting.name, value(setting)?)));
            let settings: Vec<_> = given.collect();
            if !settings.is_empty() {
                self.steps.push(Step { from: Duration::ZERO, until: None, way, settings });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(impairments: &Impairments, seconds: f64) -> [LinkConfig; 2] {
        impairments.at(Duration::from_secs_f64(seconds), 1500)
    }

    #[test]
    fn a_schedule_says_how_the_cable_is_at_each_time() {
        let options = vec![Step::parse(Way::Both, ["delay=10ms", "rate=20mbit"]).unwrap()];
        let schedule =
            "# a bad minute\n10s for 2s outage\n\n11s for 2s down delay=1s  # within it\n20s up rate=1.5mbit loss=5%\n";
        let all = Impairments::new(options, Some(schedule)).unwrap();
        let ms = Duration::from_millis;
        assert_eq!(at(&all, 0.0).map(|c| (c.delay, c.rate, c.loss)), [(ms(10), Some(20_000_000), 0.0); 2]);
        assert_eq!(at(&all, 10.0).map(|c| c.loss), [1.0, 1.0]);
        assert_eq!(at(&all, 11.5).map(|c| (c.loss, c.delay)), [(1.0, ms(10)), (1.0, ms(1000))]);
        assert_eq!(at(&all, 12.5).map(|c| (c.loss, c.delay)), [(0.0, ms(10)), (0.0, ms(1000))]);
        assert_eq!(at(&all, 13.0).map(|c| (c.loss, c.delay)), [(0.0, ms(10)); 2]);
        assert_eq!(at(&all, 99.0).map(|c| (c.loss, c.rate)), [(0.05, Some(1_500_000)), (0.0, Some(20_000_000))]);
        let mut changes = vec![Duration::ZERO];
        while let Some(next) = all.next_change(changes[changes.len() - 1]) {
            changes.push(next);
        }
        assert_eq!(changes, [0, 10, 11, 12, 13, 20].map(Duration::from_secs));
    }

    #[test]
    fn what_is_said_later_counts() {
        let mut all =
            Impairments::new(vec![Step::parse(Way::Both, ["loss=gilbert:1%,25%,90%,0.1%"]).unwrap()], None).unwrap();
        let bursts = Some(Bursts { begin: 0.01, end: 0.25, loss: 0.9 });
        assert_eq!(at(&all, 0.0).map(|c| (c.loss, c.bursts)), [(0.001, bursts); 2]);
        all.push(Duration::from_secs(5), Step::parse(Way::Up, ["loss=0", "reorder=2%,30ms", "queue=7"]).unwrap());
        let [up, down] = at(&all, 6.0);
        assert_eq!((up.loss, up.bursts, down.bursts), (0.0, None, bursts));
        assert_eq!((up.reorder, up.reorder_by, up.queue), (0.02, Duration::from_millis(30), 7));
        assert_eq!(at(&all, 4.0)[0].queue, LinkConfig::default().queue);
    }

    #[test]
    fn asking_again_and_again_keeps_nothing_of_before() {
        let schedule = "1s for 1000s loss=5% delay=1s";
        let mut all = Impairments::new(Vec::new(), Some(schedule)).unwrap();
        for n in 0..100 {
            for way in [Way::Up, Way::Both, Way::Down] {
                let words = [format!("loss={}%", n % 7), "reorder=1%,7ms".into()];
                all.push(Duration::from_secs(10 + n), Step::parse(way, words.iter().map(String::as_str)).unwrap());
            }
        }
        all.push(Duration::from_secs(110), Step::parse(Way::Up, ["reorder=2%"]).unwrap());
        assert_eq!(all.steps.len(), 4, "the schedule's, both's, down's and the last");
        let ms = Duration::from_millis;
        let [up, down] = at(&all, 200.0);
        assert_eq!((up.loss, up.delay, up.reorder, up.reorder_by), (0.01, ms(1000), 0.02, ms(1)));
        assert_eq!((down.loss, down.delay, down.reorder, down.reorder_by), (0.01, ms(1000), 0.01, ms(7)));
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for bad in [
            "delay=fast",
            "delay=-1s",
            "loss=1",
            "loss=101%",
            "loss=NaN%",
            "loss=gilbert:1%",
            "rate=0bit",
            "rate=20",
            "rate=inf gbit",
            "queue=-1",
            "speed=1",
            "delay",
            "reorder=1%,soon",
            "corrupt=%",
        ] {
            assert!(Step::parse(Way::Both, [bad]).is_err(), "{bad}");
        }
        for bad in ["outage", "10s", "10s for outage", "10s for 2s", "10s sideways outage", "x outage"] {
            let error = Impairments::new(Vec::new(), Some(&format!("\n{bad}"))).unwrap_err();
            assert!(error.starts_with("line 2: "), "{bad}: {error}");
        }
    }
}
