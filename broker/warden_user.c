// SPDX-License-Identifier: BSD-2-Clause
/*
 * Whoever has the engine's uid can trace and stop it. So a uid is taken by a
 * lock on the byte of that number in one file for all brokers of the host,
 * which the kernel gives to one process and takes back at its end; and only
 * then it is looked whether some process has it.
 */
#include "warden_user.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define DIRECTORY "/run/netring"
#define LOCK_FILE DIRECTORY "/uids"
#define PROCESSES "/proc"
#define DEFAULT_NAME "netring"
#define NOBODY 65534
/* Where Debian allots nothing by itself. */
#define FREE_UID_FIRST 64700u
#define FREE_UID_LAST 64999u

static uid_t engine_uid; /* our own lock is none to us */

/* ------------------------------------------------------------------ locks */

/* Closed never: that would give up all locks at once. */
static int lock_file(void)
{
	static int fd = -1;

	if (fd >= 0)
		return fd;
	if (mkdir(DIRECTORY, 0755) && errno != EEXIST)
		return -errno;
	fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

static struct flock lock_of(uid_t uid, short type)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = uid, .l_len = 1
	};
}

/* 0, or -errno: -EAGAIN: another broker has it. */
static int take(uid_t uid)
{
	struct flock lock = lock_of(uid, F_WRLCK);
	int fd = lock_file();

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static void give_back(uid_t uid)
{
	struct flock lock = lock_of(uid, F_UNLCK);

	fcntl(lock_file(), F_SETLK, &lock);
}

/* The broker that has it; 0: none that we can see, by now. */
static pid_t holder_of(uid_t uid)
{
	struct flock lock = lock_of(uid, F_WRLCK);

	if (fcntl(lock_file(), F_GETLK, &lock) || lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid;
}

/* -------------------------------------------------------------- processes */

/* The line is among the first; a name has no line feed there. Or -errno. */
static int process_has_uid(const char *pid, uid_t uid)
{
	char path[64], text[1024];
	unsigned real, effective, saved;
	const char *line;
	ssize_t length;
	int fd, err;

	snprintf(path, sizeof(path), "/proc/%.20s/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? fd : read(fd, text, sizeof(text) - 1);
	err = length < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	if (err)
		return err == -ENOENT || err == -ESRCH ? 0 : err;
	text[length] = '\0';
	line = strstr(text, "\nUid:");
	if (!line ||
	    sscanf(line, " Uid: %u %u %u", &real, &effective, &saved) != 3)
		return length > 0; /* of one that has gone there is nothing */
	return real == uid || effective == uid || saved == uid;
}

/*
 * It is looked at before each engine, so all is kept that is needed for it.
 * 1, 0, or -errno: nobody can say.
 */
static int uid_is_in_use(uid_t uid)
{
	static DIR *proc;
	struct dirent *entry;
	int found = 0;

	if (!proc)
		proc = opendir(PROCESSES);
	if (!proc)
		return -errno;
	rewinddir(proc);
	while (!found) {
		errno = 0;
		entry = readdir(proc);
		if (!entry)
			return -errno;
		if (isdigit((unsigned char)entry->d_name[0]))
			found = process_has_uid(entry->d_name, uid);
	}
	return found;
}

/* ----------------------------------------------------------------- choosing */

/*
 * 0, -EAGAIN: another broker's, -EBUSY: a process has it, or -errno, from what
 * is @where.
 */
static int take_unused(uid_t uid, const char **where)
{
	int err = uid == engine_uid ? -EAGAIN : take(uid);

	*where = LOCK_FILE;
	if (err)
		return err;
	*where = PROCESSES;
	err = uid_is_in_use(uid);
	if (err)
		give_back(uid);
	return err > 0 ? -EBUSY : err;
}

static int take_free(uid_t *uid, const char **where)
{
	int err;

	for (uid_t id = FREE_UID_FIRST; id <= FREE_UID_LAST; id++) {
		if (getpwuid(id) || getgrgid(id))
			continue;
		err = take_unused(id, where);
		if (err == 0)
			*uid = id;
		if (err != -EAGAIN && err != -EBUSY)
			return err;
	}
	return -EUSERS;
}

static int use_free(uid_t *uid, gid_t *gid)
{
	const char *where;
	int err = take_free(uid, &where);

	if (err == -EUSERS)
		log_error("no free uid from %u to %u for the engine: make a "
			  "user for it alone and set 'user ='",
			  FREE_UID_FIRST, FREE_UID_LAST);
	else if (err)
		log_error("cannot reserve a uid for the engine: %s: %s", where,
			  strerror(-err));
	if (err)
		return 1;
	*gid = *uid;
	engine_uid = *uid;
	return 0;
}

static int refuse(const char *name, uid_t uid, int err, const char *where)
{
	if (err == -EAGAIN)
		log_error("user '%s' is that of another broker's engine "
			  "(process %d): each needs one that nothing else "
			  "has, because it can trace what has the same: make "
			  "one for this broker (adduser --system %s-2) and "
			  "set 'user ='",
			  name, (int)holder_of(uid), name);
	else if (err == -EBUSY)
		log_error("user '%s' is in use by a process: the engine needs "
			  "one that nothing else has, because it can trace "
			  "what has the same",
			  name);
	else
		log_error("cannot reserve user '%s' for the engine: %s: %s",
			  name, where, strerror(-err));
	return 1;
}

static int use_configured(const char *name, uid_t *uid, gid_t *gid)
{
	const struct passwd *user = getpwnam(name);
	const char *where;
	int err;

	if (!user) {
		log_error("user '%s' does not exist: make it (adduser --system "
			  "%s) or leave 'user =' out",
			  name, name);
		return 1;
	}
	if (user->pw_uid == 0) {
		log_error("user '%s' is root: the engine needs one that "
			  "nothing else has",
			  name);
		return 1;
	}
	*uid = user->pw_uid;
	*gid = user->pw_gid;
	err = take_unused(*uid, &where);
	if (err)
		return refuse(name, *uid, err, where);
	engine_uid = *uid;
	return 0;
}

int user_choose(const struct config *config, uid_t *uid, gid_t *gid)
{
	const struct passwd *user;
	const char *where;

	*uid = geteuid();
	*gid = getegid();
	if (*uid != 0)
		return 0;
	if (config->user[0])
		return use_configured(config->user, uid, gid);
	user = getpwnam(DEFAULT_NAME);
	if (!user || user->pw_uid == 0)
		return use_free(uid, gid);
	*uid = user->pw_uid;
	*gid = user->pw_gid;
	if (take_unused(*uid, &where))
		return use_free(uid, gid);
	engine_uid = *uid;
	return 0;
}

int user_check(const struct config *config, uid_t *uid, gid_t *gid)
{
	uid_t old = *uid;
	int err = geteuid() == 0 ? uid_is_in_use(old) : 0;

	if (err == 0)
		return 0;
	if (err < 0) {
		log_error(
			"cannot see whether the engine's uid %u is in use: " PROCESSES
			": %s",
			(unsigned)old, strerror(-err));
		return 1;
	}
	if (config->user[0])
		return refuse(config->user, old, -EBUSY, PROCESSES);
	log_warn("uid %u is in use by a process: the engine gets another",
		 (unsigned)old);
	err = use_free(uid, gid);
	if (!err)
		give_back(old);
	return err;
}

uid_t user_borrow(void)
{
	const char *where = LOCK_FILE;
	uid_t uid;
	int err = take_free(&uid, &where);

	if (err)
		log_warn("no uid for the configuration's parser alone: %s: %s: "
			 "it is nobody",
			 where, strerror(-err));
	return err ? NOBODY : uid;
}

void user_give_back(uid_t uid)
{
	if (uid != NOBODY)
		give_back(uid);
}
