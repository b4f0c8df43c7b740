// SPDX-License-Identifier: BSD-2-Clause
/*
 * Before the warden serves: configuration, user, socket. The text is read by a
 * child that has given up everything but the memory it writes the result to.
 */
#include "warden_start.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "filter.h"
#include "log.h"
#include "warden_host.h"

#define NOBODY 65534
#define TURN_TRIES 100 /* 10 ms apart */
/* Where Debian allots nothing by itself. */
#define FREE_UID_FIRST 64700u
#define FREE_UID_LAST 64999u

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* ---------------------------------------------------------- configuration */

static int parse(const struct start_options *options, struct config *config,
		 FILE *file)
{
	config_init(config);
	if (options->socket &&
	    strlen(options->socket) >= sizeof(config->socket)) {
		log_error("--socket: longer than %zu bytes",
			  sizeof(config->socket) - 1);
		return 1;
	}
	if (file && config_parse(config, file, options->config_file, stderr))
		return 1;
	if (options->interface &&
	    config_add_interface(config, options->interface, stderr))
		return 1;
	if (options->replay_file &&
	    config_add_file(config, options->replay_file, true, stderr))
		return 1;
	if (options->socket)
		strcpy(config->socket, options->socket);
	return 0;
}

/* Gives up what this process has; it only has to read and to write memory. */
static int become_nobody(void)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY) || prctl(PR_SET_DUMPABLE, 0) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return 0;
}

__attribute__((noreturn)) static void
parse_in_child(const struct start_options *options, struct config *config,
	       FILE *file)
{
	int keep = file ? fileno(file) : STDERR_FILENO;
	int err;

	/* On a reload the warden has sockets: none of its business. */
	close_range(STDERR_FILENO + 1, (unsigned)keep - 1, 0);
	close_range((unsigned)keep + 1, ~0u, 0);
	if (geteuid() == 0) {
		err = filter_prepare_kernel();
		if (err)
			log_debug("no network namespace to compile filters in: "
				  "%s",
				  strerror(-err));
	}
	err = become_nobody();
	if (err) {
		log_error("cannot give up privilege: %s", strerror(-err));
		_exit(1);
	}
	_exit(parse(options, config, file) ? 2 : 0);
}

static struct config *config_memory(int *fd)
{
	struct config *config = MAP_FAILED;

	*fd = memfd_create("netring-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return NULL;
	if (ftruncate(*fd, sizeof(*config)) == 0)
		config = mmap(NULL, sizeof(*config), PROT_READ | PROT_WRITE,
			      MAP_SHARED, *fd, 0);
	if (config != MAP_FAILED)
		return config;
	close(*fd);
	return NULL;
}

static void drop_config(struct config *config, int fd)
{
	munmap(config, sizeof(*config));
	close(fd);
}

/* What the child left is copied and sealed: nobody changes it from here on. */
static const struct config *keep_config(struct config *shared, int *fd)
{
	int shared_fd = *fd;
	struct config *config = config_memory(fd);

	if (config)
		memcpy(config, shared, sizeof(*config));
	drop_config(shared, shared_fd);
	if (!config) {
		log_error("no memory for the configuration");
		return NULL;
	}
	if (!config_is_sane(config)) {
		log_error("the configuration's parser went wrong");
		drop_config(config, *fd);
		return NULL;
	}
	for (uint32_t i = 0; i < config->source_count; i++)
		host_count_queues(&config->sources[i]);
	if (mprotect(config, sizeof(*config), PROT_READ) ||
	    fcntl(*fd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE |
			  F_SEAL_SEAL)) {
		log_error("cannot seal the configuration: %s", strerror(errno));
		drop_config(config, *fd);
		return NULL;
	}
	return config;
}

const struct config *start_config(const struct start_options *options, int *fd)
{
	struct config *shared = config_memory(fd);
	FILE *file = NULL;
	int status;
	pid_t pid;

	if (!shared) {
		log_error("no memory for the configuration");
		return NULL;
	}
	if (options->config_file) {
		file = fopen(options->config_file, "re");
		if (!file) {
			log_error("%s: %s", options->config_file,
				  strerror(errno));
			drop_config(shared, *fd);
			return NULL;
		}
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		parse_in_child(options, shared, file);
	if (file)
		fclose(file);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		log_error("cannot run the configuration's parser: %s",
			  strerror(errno));
		status = 1 << 8;
	}
	if (!WIFEXITED(status))
		log_error("the configuration's parser died of signal %d",
			  WTERMSIG(status));
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		drop_config(shared, *fd);
		return NULL;
	}
	return keep_config(shared, fd);
}

/* What AF_XDP takes is lost to the host, which may need it. */
static int check_exclusive(const struct config_source *source, const char *name)
{
	char why[128];
	int errors = 0;

	if (source->backend != BACKEND_XDP || source->exclusive)
		return 0;
	for (uint32_t i = 0; i < source->interface_count; i++) {
		if (!host_needs(source->interfaces[i], why, sizeof(why)))
			continue;
		fprintf(stderr,
			"%s:%u: source %s: %s %s: packets that AF_XDP takes "
			"are lost to the host; set exclusive = yes if that is "
			"meant, or backend = af_packet\n",
			name, source->line, source->name, source->interfaces[i],
			why);
		errors++;
	}
	return errors;
}

static int check_source(const struct config_source *source, const char *name)
{
	int fd, errors = check_exclusive(source, name);

	if (source->interface_count * source->lanes > NR_LANES_MAX) {
		fprintf(stderr,
			"%s:%u: source %s: %u interfaces with %u queues each "
			"are more than %d lanes; list some queues (queues = 0, "
			"1), or have fewer (ethtool -L)\n",
			name, source->line, source->name,
			source->interface_count, source->lanes, NR_LANES_MAX);
		errors++;
	}

	for (uint32_t i = 0; i < source->interface_count; i++) {
		if (if_nametoindex(source->interfaces[i]))
			continue;
		fprintf(stderr,
			"%s:%u: source %s: there is no interface '%s' "
			"(ip link shows what there is)\n",
			name, source->line, source->name,
			source->interfaces[i]);
		errors++;
	}
	if (source->backend != BACKEND_REPLAY)
		return errors;
	fd = open(source->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		fprintf(stderr, "%s:%u: source %s: file '%s': %s\n", name,
			source->line, source->name, source->file,
			strerror(errno));
		return errors + 1;
	}
	close(fd);
	return errors;
}

int start_check(const struct config *config, const char *name)
{
	int errors = 0;

	for (uint32_t i = 0; i < config->source_count; i++)
		errors += check_source(&config->sources[i], name);
	return errors;
}

/* ------------------------------------------------------------------- user */

static bool process_has_uid(const char *pid, uid_t uid)
{
	char path[64], line[256];
	unsigned real, effective, saved;
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.20s/status", pid);
	file = fopen(path, "re");
	if (!file)
		return errno != ENOENT && errno != ESRCH; /* it may have */
	while (!found && fgets(line, sizeof(line), file))
		if (sscanf(line, "Uid: %u %u %u", &real, &effective, &saved) ==
		    3)
			found = real == uid || effective == uid || saved == uid;
	fclose(file);
	return found;
}

static bool uid_is_in_use(uid_t uid)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	if (!proc)
		return true; /* nobody can say that it is not */
	while (!found && (entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]))
			found = process_has_uid(entry->d_name, uid);
	closedir(proc);
	return found;
}

static int use_free_uid(uid_t *uid, gid_t *gid)
{
	for (uid_t id = FREE_UID_FIRST; id <= FREE_UID_LAST; id++) {
		if (getpwuid(id) || getgrgid(id) || uid_is_in_use(id))
			continue;
		*uid = id;
		*gid = id;
		return 0;
	}
	log_error(
		"no free uid from %u to %u for the engine: make a user for it "
		"alone and set 'user ='",
		FREE_UID_FIRST, FREE_UID_LAST);
	return 1;
}

int start_user(const struct config *config, uid_t *uid, gid_t *gid)
{
	const char *name = config->user[0] ? config->user : "netring";
	const struct passwd *user;

	*uid = geteuid();
	*gid = getegid();
	if (*uid != 0)
		return 0;
	user = getpwnam(name);
	if (!user && config->user[0]) {
		log_error("user '%s' does not exist: make it (adduser --system "
			  "%s) or leave 'user =' out",
			  name, name);
		return 1;
	}
	if (!user)
		return use_free_uid(uid, gid);
	if (user->pw_uid == 0 || uid_is_in_use(user->pw_uid)) {
		log_error("user '%s' is %s: the engine needs one that nothing "
			  "else has, because it can trace what has the same",
			  name, user->pw_uid ? "in use by a process" : "root");
		return 1;
	}
	*uid = user->pw_uid;
	*gid = user->pw_gid;
	return 0;
}

/* ----------------------------------------------------------------- socket */

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

static int listen_on(const struct config *config,
		     const struct sockaddr_un *address, struct stat *file)
{
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
	err = lstat(address->sun_path, file) ? -errno : 0;
	if (!err)
		err = open_up(config, address->sun_path);
	if (!err && listen(fd, 128))
		err = -errno;
	if (!err)
		return fd;
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

int start_listener(const struct config *config, struct stat *file)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err, turn;

	memcpy(address.sun_path, config->socket, sizeof(address.sun_path));
	if (make_directory(config->socket))
		return -1;
	turn = take_turn(config->socket);
	err = clear_way(&address);
	if (err == 0)
		err = listen_on(config, &address, file);
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
	return err < 0 ? -1 : err;
}
