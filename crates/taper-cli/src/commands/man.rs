//! `taper man`: the manual page, every command included.

use crate::Status;
use crate::args::Cli;
use clap::CommandFactory;
use std::io::Write;

pub fn execute() -> anyhow::Result<Status> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    append(&command, &mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(Status::Done)
}

/// Options and examples of each subcommand, after the page of the program.
fn append(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let name = sub.get_bin_name().unwrap_or(sub.get_name()).to_uppercase();
        let man = clap_mangen::Man::new(sub.clone());
        writeln!(page, ".SH \"{name}\"")?;
        man.render_description_section(page)?;
        man.render_synopsis_section(page)?;
        man.render_options_section(page)?;
        append(sub, page)?;
    }
    Ok(())
}
