/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers in words. An error says what it means here, not what errno.h says. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include <netring.h>

static const struct {
	int err;
	const char *text;
} errors[] = {
	{ 0, "no error" },
	{ ECONNREFUSED, "there is no broker on that socket" },
	{ ENOENT, "the broker has no such channel" },
	{ EACCES, "this user may not attach to the channel" },
	{ ENOSPC, "full: the channel's guarantees or the user's quota" },
	{ EAGAIN, "too many attaches in a short time: try again later" },
	{ EPROTONOSUPPORT, "broker and library differ in their major version" },
	{ EPROTO, "the protocol was broken, by the broker or by this process" },
	{ EPIPE, "the broker is gone" },
	{ ESHUTDOWN, "the broker has ended" },
	{ ENODATA, "the source is over" },
	{ ESTALE, "the channel was changed: attach again" },
	{ EKEYREVOKED, "this user may not attach to the channel any more" },
	{ EIDRM, "the channel was removed" },
	{ ETIMEDOUT, "the broker does not answer" },
};

const char *nr_strerror(int err)
{
	const char *text;
	size_t i;

	if (err < 0 && err != INT_MIN)
		err = -err;
	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].err == err)
			return errors[i].text;
	text = strerrordesc_np(err);
	return text ? text : "unknown error";
}

const char *nr_lost_name(unsigned cause)
{
	switch (cause) {
	case NR_LOST_NOT_ADMITTED:
		return "not admitted";
	case NR_LOST_RETIRED:
		return "retired";
	default:
		return "unknown cause";
	}
}

const char *nr_version(void)
{
	return NR_VERSION_STRING;
}
