/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who a command runs as. The whole of an identity is looked up first, by whom
 * we are, and taken in one go: groups, group, user, none of which can come
 * back.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common.h"
#include "identity.h"

/* A user or group that has no name. */
static bool number_of(const char *text, unsigned *number)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	*number = (unsigned)value;
	/* all ones is "leave it as it is" to the system calls */
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno &&
	       value < UINT32_MAX;
}

static int group_find(const char *text, gid_t *gid)
{
	const struct group *group = getgrnam(text);

	if (group)
		*gid = group->gr_gid;
	else if (!number_of(text, gid)) {
		complain("--group %s: there is no such group", text);
		return -1;
	}
	return 0;
}

static const struct passwd *passwd_find(const char *user, uid_t *uid)
{
	const struct passwd *passwd;

	if (!user) {
		*uid = geteuid();
		return getpwuid(*uid);
	}
	passwd = getpwnam(user);
	if (passwd)
		*uid = passwd->pw_uid;
	else if (number_of(user, uid))
		passwd = getpwuid(*uid);
	else
		*uid = (uid_t)-1;
	return passwd;
}

int identity_find(struct identity *identity, const char *user,
		  const char *group)
{
	const struct passwd *passwd = passwd_find(user, &identity->uid);

	if (identity->uid == (uid_t)-1) {
		complain("--user %s: there is no such user", user);
		return -1;
	}
	if (group) {
		if (group_find(group, &identity->gid))
			return -1;
	} else if (passwd) {
		identity->gid = passwd->pw_gid;
	} else {
		complain("--user %s: has no entry that says its group; give "
			 "--group too",
			 user);
		return -1;
	}
	identity->group_count = 1;
	identity->groups[0] = identity->gid;
	if (!passwd)
		return 0;
	identity->group_count = IDENTITY_GROUPS_MAX;
	if (getgrouplist(passwd->pw_name, identity->gid, identity->groups,
			 &identity->group_count) >= 0)
		return 0;
	complain("%s is in more than %d groups", passwd->pw_name,
		 IDENTITY_GROUPS_MAX);
	return -1;
}

int identity_take(const struct identity *identity)
{
	/* Nothing to become, and nothing that we were allowed to. */
	if (identity->uid == geteuid() && identity->gid == getegid() &&
	    geteuid() != 0)
		return 0;
	if (setgroups((size_t)identity->group_count, identity->groups) == 0 &&
	    setresgid(identity->gid, identity->gid, identity->gid) == 0 &&
	    setresuid(identity->uid, identity->uid, identity->uid) == 0)
		return 0;
	complain("cannot become user %u, group %u: %s", identity->uid,
		 identity->gid, strerror(errno));
	return -1;
}

/* --------------------------------------------------------------- network */

__attribute__((format(printf, 2, 3))) static int
write_file(const char *path, const char *format, ...)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	va_list args;
	int n;

	if (fd < 0)
		return -errno;
	va_start(args, format);
	n = vdprintf(fd, format, args);
	va_end(args);
	close(fd);
	return n < 0 ? -errno : 0;
}

int network_leave(void)
{
	return unshare(CLONE_NEWNET) ? -errno : 0;
}

int network_leave_as_user(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int err;

	/* Who has become another user could not write its own maps. */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ||
	    unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return -errno;
	err = write_file("/proc/self/uid_map", "%u %u 1", uid, uid);
	if (!err)
		err = write_file("/proc/self/setgroups", "deny");
	if (!err)
		err = write_file("/proc/self/gid_map", "%u %u 1", gid, gid);
	return err;
}
