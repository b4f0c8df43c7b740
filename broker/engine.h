/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The unprivileged process that does the work. It is executed afresh, with
 * the descriptors of enum priv_fd and nothing else.
 */
#ifndef NETRINGD_ENGINE_H
#define NETRINGD_ENGINE_H

/* argv[0] of an engine */
#define ENGINE_NAME "netringd: engine"

/* Serves until the warden says SIGTERM. Returns the exit status. */
int engine_run(void);

#endif
