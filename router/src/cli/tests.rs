//! The command line as a whole: parsing, exit codes, one-line errors.

use clap::CommandFactory;

use super::*;
use crate::config::Setting;

/// The line that a wrong call is answered with.
fn complaint(arguments: &[&str]) -> String {
    let arguments = std::iter::once(&"weft").chain(arguments).map(OsString::from);
    let arguments: Vec<_> = arguments.collect();
    let error = Cli::try_parse_from(&arguments).unwrap_err();
    let failure = misuse(&error, &command_named(&arguments)).unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
    failure.to_string()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_wrong_call_is_answered_by_one_line_with_the_cure() {
    let cases: [(&[&str], &str); 18] = [
        (&[], "no command given: see `weft --help`"),
        (&["stat"], "unrecognized subcommand 'stat', did you mean 'status'?: see `weft --help`"),
        (
            &["status", "peer"],
            "invalid value 'peer' for '[TABLE]' [possible values: connections, peers, targets, \
             ipam, policy], did you mean 'peers'?: see `weft status --help`",
        ),
        (
            &["launch", "--prot", "1"],
            "unexpected argument '--prot' found, did you mean '--port'?: see `weft launch --help`",
        ),
        (
            &["launch", "--secret", "x"],
            "unexpected argument '--secret' found, did you mean '--secret-file'?: see \
             `weft launch --help`",
        ),
        (
            &["launch", "--port"],
            "a value is required for '--port <PORT>' but none was supplied: see \
             `weft launch --help`",
        ),
        (
            &["launch", "--port", "1", "--port", "2"],
            "the argument '--port <PORT>' cannot be used multiple times: see \
             `weft launch --help`",
        ),
        (
            &["connect"],
            "the following required arguments were not provided: <PEER>...: see \
             `weft connect --help`",
        ),
        (
            &["connect", "h1:x"],
            "invalid peer \"h1:x\": the port must be a number from 1 to 65535: see \
             `weft connect --help`",
        ),
        (
            &["attach"],
            "the following required arguments were not provided: --netns <PATH>: see \
             `weft attach --help`",
        ),
        (
            &["attach", "--netns", "/x", "--label", "app"],
            "invalid value 'app' for '--label <K=V>': write key=value: see `weft attach --help`",
        ),
        (
            &["attach", "--netns", "/x", "--ip", "10.32.0.5"],
            "invalid value '10.32.0.5' for '--ip <CIDR>': write an address with the range's \
             prefix length, such as 10.32.0.5/12: see `weft attach --help`",
        ),
        (&["policy"], "no command given: see `weft policy --help`"),
        (
            &["policy", "matrix", "--port", "80/tcp"],
            "the following required arguments were not provided: --file <FILE>...: see \
             `weft policy matrix --help`",
        ),
        (
            &["policy", "matrix", "-f", "a", "--port", "80/icmp"],
            "invalid value '80/icmp' for '--port <80/tcp>': write 80/tcp, or the name of a port as \
             http/tcp, with tcp, udp or sctp: see `weft policy matrix --help`",
        ),
        (&["secret"], "no command given: see `weft secret --help`"),
        (&["secret", "new", "x"], "unexpected argument 'x' found: see `weft secret new --help`"),
        (
            &["rmpeer"],
            "the following required arguments were not provided: <NAME>...: see \
             `weft rmpeer --help`",
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(complaint(arguments), expected, "weft {arguments:?}");
    }
}

#[test]
fn every_setting_is_a_flag_of_launch() {
    let command = Cli::command();
    let launch = command.find_subcommand("launch").unwrap();
    let flags: Vec<_> = launch
        .get_arguments()
        .chain(command.get_arguments())
        .filter_map(|argument| argument.get_long())
        .collect();
    for setting in Setting::ALL {
        assert!(flags.contains(&setting.key()) || setting == Setting::Peers, "--{setting}");
    }
    assert!(!flags.contains(&"secret"), "the secret is never an argument");
}

#[test]
fn what_is_given_to_launch_reaches_the_configuration() {
    let mut arguments = vec!["weft".to_owned(), "launch".into(), "h1".into(), "h2:1".into()];
    for setting in Setting::ALL {
        match setting {
            Setting::Peers => {}
            Setting::NoDiscovery | Setting::Kubernetes | Setting::StandBy => {
                arguments.push(format!("--{setting}"));
            }
            other => arguments.extend([format!("--{other}"), format!("value of {other}")]),
        }
    }
    let cli = Cli::try_parse_from(arguments).unwrap();
    let Command::Launch(launch) = cli.command else { panic!("not launch") };
    let settings = launch.settings(cli.socket.as_ref());
    assert_eq!(settings.keys().copied().collect::<Vec<_>>(), Setting::ALL);
    for (setting, texts) in settings {
        match setting {
            Setting::Peers => assert_eq!(texts, ["h1", "h2:1"]),
            Setting::NoDiscovery | Setting::Kubernetes | Setting::StandBy => {
                assert_eq!(texts, ["true"]);
            }
            other => assert_eq!(texts, [format!("value of {other}")]),
        }
    }
    let nothing = Cli::try_parse_from(["weft", "launch"]).unwrap();
    let Command::Launch(launch) = nothing.command else { panic!("not launch") };
    assert!(launch.settings(None).is_empty());
}

#[test]
fn the_socket_may_stand_before_and_after_the_command() {
    for arguments in [["weft", "--socket", "/s", "ps"], ["weft", "ps", "--socket", "/s"]] {
        let cli = Cli::try_parse_from(arguments).unwrap();
        assert_eq!(client(cli.socket.as_ref()).socket(), std::path::Path::new("/s"));
    }
}

#[test]
fn exit_codes() {
    let unreachable = block_on(async {
        Client::new("/nowhere/weft.sock".into()).status().await?;
        Ok(())
    });
    let failure = unreachable.unwrap_err();
    assert_eq!(failure.exit(), Exit::Unreachable);
    assert_eq!(
        failure.to_string(),
        "weft is not reachable at /nowhere/weft.sock: is `weft launch` running?"
    );
    assert_eq!(Failure::Failed("x".into()).exit(), Exit::Failed);
    assert_eq!(Failure::Usage("x".into()).exit(), Exit::Usage);
}

#[test]
fn every_command_and_flag_has_help() {
    fn check(command: &clap::Command, path: &str) {
        assert!(command.get_about().is_some(), "{path}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
        }
        for inner in command.get_subcommands() {
            check(inner, &format!("{path} {}", inner.get_name()));
        }
    }
    check(&Cli::command(), "weft");
}
