// SPDX-License-Identifier: BSD-2-Clause
/* The flow hash as redirect.bpf.c has it, which fuzz_flow.c compares. */
#define __bpf__ 1
#include "../../broker/flow_core.h"

uint32_t flow_hash_bpf(const uint8_t *data, uint32_t size);

uint32_t flow_hash_bpf(const uint8_t *data, uint32_t size)
{
	struct cursor c = { data, data + size };

	return hash_ethernet(c);
}
