/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an engine that was taken over can say and have, said from outside: with
 * its own descriptors, in its name.
 */
#ifndef TESTS_HIJACK_H
#define TESTS_HIJACK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "priv.h"

/* One of the engine's descriptors, as one that it has passed it to has it. */
int hijack_fd(pid_t engine, enum priv_fd number);

/* Its end of the socket to its warden. */
int hijack_socket(pid_t engine);

/* On which rings come: of the thread that maps them. */
int hijack_rings(pid_t engine);

/* Takes the next ring from there, as that thread could: for good. */
void *hijack_map(int rings, size_t size);

/* In the name of @pid: root may say so, and the engine of itself. */
bool hijack_say(int socket, pid_t pid, const void *bytes, size_t size);
bool hijack_ask(int socket, pid_t pid, const struct priv_request *request);

/* What the warden answers. Descriptors that come with it are dropped. */
int hijack_status(int socket, pid_t engine, const struct priv_request *request);

#endif
