// SPDX-License-Identifier: BSD-2-Clause
/*
 * The configuration, at the start and at each reload. The text is read by a
 * child that has given up everything but the memory it writes the result to.
 */
#include "warden_start.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "filter.h"
#include "log.h"
#include "warden_host.h"
#include "warden_user.h"

/* Reads a file and compiles filters; somebody may have stopped it. */
#define PARSER_MS 5000

/* ---------------------------------------------------------- configuration */

static int parse(const struct start_options *options, struct config *config,
		 FILE *file)
{
	config_init(config);
	if (options->socket && strlen(options->socket) > CONFIG_SOCKET_MAX) {
		log_error("--socket: longer than %d bytes", CONFIG_SOCKET_MAX);
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
static int become(uid_t uid)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid) || prctl(PR_SET_DUMPABLE, 0) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return 0;
}

__attribute__((noreturn)) static void
parse_in_child(const struct start_options *options, struct config *config,
	       FILE *file, uid_t uid)
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
	err = become(uid);
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
	if (*fd >= 0 && ftruncate(*fd, sizeof(*config)) == 0)
		config = mmap(NULL, sizeof(*config), PROT_READ | PROT_WRITE,
			      MAP_SHARED, *fd, 0);
	if (config != MAP_FAILED)
		return config;
	log_error("no memory for the configuration: %s", strerror(errno));
	if (*fd >= 0)
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
	if (!config)
		return NULL;
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

/* The parser's status, as of waitpid(). */
static int wait_for(pid_t pid)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int status = 1 << 8, ms = 0;
	pid_t ended;

	/* Without a descriptor or anything else that may not be had. */
	while ((ended = waitpid(pid, &status, WNOHANG)) == 0 ||
	       (ended < 0 && errno == EINTR)) {
		if (++ms == PARSER_MS) {
			log_error("the configuration's parser did not end: "
				  "killed");
			kill(pid, SIGKILL);
		}
		nanosleep(&pause, NULL);
	}
	if (ended < 0)
		log_error("how the configuration's parser ended is not to be "
			  "had: %s",
			  strerror(errno));
	else if (ms < PARSER_MS && !WIFEXITED(status))
		log_error("the configuration's parser died of signal %d",
			  WTERMSIG(status));
	return status;
}

/* Whether it has read what there is, into @shared. */
static bool run_parser(const struct start_options *options,
		       struct config *shared, FILE *file)
{
	/* Not nobody: what runs as that can stop it. */
	uid_t uid = geteuid() == 0 ? user_borrow() : 0;
	int status = 1 << 8;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		parse_in_child(options, shared, file, uid);
	if (pid < 0)
		log_error("cannot run the configuration's parser: %s",
			  strerror(errno));
	else
		status = wait_for(pid);
	if (uid != 0)
		user_give_back(uid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const struct config *start_config(const struct start_options *options, int *fd)
{
	struct config *shared = config_memory(fd);
	FILE *file = NULL;
	bool is_good;

	if (!shared)
		return NULL;
	if (options->config_file) {
		file = fopen(options->config_file, "re");
		if (!file) {
			log_error("%s: %s", options->config_file,
				  strerror(errno));
			drop_config(shared, *fd);
			return NULL;
		}
	}
	is_good = run_parser(options, shared, file);
	if (file)
		fclose(file);
	if (!is_good) {
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

static int check_interface(const struct config_source *source,
			   const char *interface, const char *name)
{
	int index = host_index(interface);

	if (index > 0)
		return 0;
	if (index == -ENODEV)
		fprintf(stderr,
			"%s:%u: source %s: there is no interface '%s' "
			"(ip link shows what there is)\n",
			name, source->line, source->name, interface);
	else
		fprintf(stderr, "%s:%u: source %s: interface '%s': %s\n", name,
			source->line, source->name, interface,
			strerror(-index));
	return 1;
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

	for (uint32_t i = 0; i < source->interface_count; i++)
		errors += check_interface(source, source->interfaces[i], name);
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
