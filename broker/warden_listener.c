// SPDX-License-Identifier: BSD-2-Clause
/*
 * Whoever has a listening socket can take the clients that connect to it, or
 * shut it down, and an engine that was taken over can pass it on. So each
 * engine gets a fresh one, which is put over the other's file by rename(): the
 * path is there all the time.
 */
#include "warden_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define TURN_TRIES 100 /* 10 ms apart */

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static int make_directory(const char *socket_path)
{
	char path[sizeof(((struct config *)0)->socket)], *slash;

	snprintf(path, sizeof(path), "%s", socket_path);
	slash = strrchr(path, '/');
	if (!slash || slash == path)
		return 0;
	*slash = '\0';
	if (mkdir(path, 0755) && errno != EEXIST) {
		log_error("%s: %s", path, strerror(errno));
		return 1;
	}
	return 0;
}

/* A socket file that nobody listens on is left over and goes. */
static int clear_way(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);
	struct stat st;
	int err;

	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ?
		      -errno :
		      -EADDRINUSE;
	close(fd);
	if (err == -EAGAIN)
		err = -EADDRINUSE;
	if (err == -ENOENT)
		return 0;
	if (err != -ECONNREFUSED)
		return err;
	/* So says connect() of any other file, too. */
	if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return unlink(address->sun_path) ? -errno : 0;
}

/* Who may connect: for all, unless there is a group. */
static int open_up(const struct config *config, const char *path)
{
	if (chmod(path, 0666))
		return -errno;
	if (config->socket_gid_set && geteuid() == 0 &&
	    chown(path, 0, config->socket_gid))
		return -errno;
	return 0;
}

static int listen_on(struct listener *listener, const struct config *config,
		     const struct sockaddr_un *address)
{
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);
	int none = 0, err;

	if (fd < 0)
		return -errno;
	/* Refused by kernels before 6.16: then what is sent is closed unread.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof(none));
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address))) {
		err = -errno;
		close(fd);
		return err;
	}
	err = open_up(config, address->sun_path);
	if (!err && (listen(fd, 128) || lstat(address->sun_path, &st)))
		err = -errno;
	if (!err) {
		*listener = (struct listener){ fd, st.st_dev, st.st_ino };
		return 0;
	}
	unlink(address->sun_path);
	close(fd);
	return err;
}

/*
 * Brokers that start at once take turns: else both find the same file left
 * over, and the second removes what the first has made. Anybody who can read
 * the directory can hold the lock, so it is not waited for long.
 */
static int take_turn(const char *socket_path)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	char path[sizeof(((struct config *)0)->socket)], *slash;
	int fd;

	snprintf(path, sizeof(path), "%s", socket_path);
	slash = strrchr(path, '/');
	if (slash)
		slash[slash == path] = '\0';
	fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < TURN_TRIES && fd >= 0; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			break;
		nanosleep(&pause, NULL);
	}
	return fd;
}

int listener_open(struct listener *listener, const struct config *config)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err, turn;

	memcpy(address.sun_path, config->socket, sizeof(address.sun_path));
	if (make_directory(config->socket))
		return 1;
	turn = take_turn(config->socket);
	err = clear_way(&address);
	if (err == 0)
		err = listen_on(listener, config, &address);
	if (turn >= 0)
		close(turn);
	if (err == -EADDRINUSE)
		log_error("%s: another broker serves this socket: stop it, or "
			  "use another (--socket)",
			  config->socket);
	else if (err == -ENOTSOCK)
		log_error("%s: another file is there: use another path "
			  "(--socket)",
			  config->socket);
	else if (err < 0)
		log_error("%s: %s", config->socket, strerror(-err));
	return err < 0;
}

/* ------------------------------------------------------------- the next one */

enum whose { OURS, ANOTHERS, NOBODYS };

/* What cannot be looked at is nobody's. */
static enum whose whose_file(const struct listener *listener, const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return NOBODYS;
	return st.st_dev == listener->device && st.st_ino == listener->inode ?
		       OURS :
		       ANOTHERS;
}

/* Beside the other one's: what a broker that died has left there goes. */
static int listen_beside(struct listener *listener, const struct config *config,
			 const struct listener *old)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int err;

	snprintf(address.sun_path, sizeof(address.sun_path), "%.*s%s",
		 CONFIG_SOCKET_MAX, config->socket, CONFIG_SOCKET_NEXT);
	if (lstat(address.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(address.sun_path);
	err = listen_on(listener, config, &address);
	if (err)
		return err;
	if (whose_file(old, config->socket) == ANOTHERS) {
		log_warn("%s: another broker has put its socket there: no "
			 "client finds this one",
			 config->socket);
		unlink(address.sun_path);
		return 0;
	}
	if (rename(address.sun_path, config->socket) == 0)
		return 0;
	err = -errno;
	unlink(address.sun_path);
	close(listener->fd);
	return err;
}

/*
 * Those who wait in it connect again; else whoever has it could take them yet.
 * Shut down, it never makes us wait, whatever its flags are by now.
 */
static void end(int fd)
{
	int client;

	shutdown(fd, SHUT_RDWR);
	while ((client = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(client);
	close(fd);
}

int listener_renew(struct listener *listener, const struct config *config)
{
	struct listener next = *listener;
	int err = make_directory(config->socket) ?
			  -ENOENT :
			  listen_beside(&next, config, listener);

	if (listener->fd >= 0)
		end(listener->fd);
	listener->fd = -1;
	if (err) {
		log_error("%s: no socket for the next engine: %s",
			  config->socket, strerror(-err));
		return 1;
	}
	*listener = next;
	return 0;
}

void listener_remove(const struct listener *listener,
		     const struct config *config)
{
	if (whose_file(listener, config->socket) == OURS)
		unlink(config->socket);
}
