/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzz targets share. Each fuzz_X.c is a target of libFuzzer; what it
 * claims it asserts, and assertions stay on in every build. Its seeds are in
 * seeds/X, and an input that found a fault stays there.
 */
#ifndef NETRING_TESTS_FUZZ_H
#define NETRING_TESTS_FUZZ_H

#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An input that is read from the front; behind its end there are zeros. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t input_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

static inline uint32_t input_below(struct input *in, uint32_t n)
{
	return input_byte(in) % n;
}

static inline void input_bytes(struct input *in, void *out, size_t size)
{
	size_t n = size < in->left ? size : in->left;

	memset(out, 0, size);
	if (n)
		memcpy(out, in->at, n);
	in->at += n;
	in->left -= n;
}

static inline uint64_t input_u64(struct input *in)
{
	uint64_t word;

	input_bytes(in, &word, sizeof(word));
	return word;
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t word;

	input_bytes(in, &word, sizeof(word));
	return word;
}

/* Descriptors that are open, among the first. */
static inline unsigned open_descriptors(void)
{
	unsigned open = 0;

	for (int fd = 0; fd < 256; fd++)
		open += fcntl(fd, F_GETFD) >= 0;
	return open;
}

#endif
