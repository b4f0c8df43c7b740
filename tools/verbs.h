/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs of the netring command, one file each. */
#ifndef NETRING_TOOL_VERBS_H
#define NETRING_TOOL_VERBS_H

#include "options.h"

extern const struct verb list_verb;
extern const struct verb stat_verb;
extern const struct verb dump_verb;
extern const struct verb reload_verb;
extern const struct verb run_verb;

#endif
