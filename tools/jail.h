/* SPDX-License-Identifier: BSD-2-Clause */
/* What a command that was started in a jail can still do: next to nothing. */
#ifndef NETRING_TOOL_JAIL_H
#define NETRING_TOOL_JAIL_H

/*
 * The files that it may open (a Landlock ruleset), starting with those that a
 * program needs to be loaded. Returns a descriptor, or -errno.
 */
int jail_new(void);

/* Lets it read @path and all below. Returns 0 or -errno. */
int jail_allow_reading(int jail, const char *path);

/* Lets it load a command from this descriptor. Returns 0 or -errno. */
int jail_allow_command(int jail, int command);

/*
 * Gives up all capabilities and what the jail does not let through, for good.
 * What is left to do is one execveat(), of what was allowed. Returns 0 or
 * -errno.
 */
int jail_enter(int jail);

#endif
