/* SPDX-License-Identifier: Apache-2.0
 *
 * Flows between simulated hosts. In C++, as SimGrid starts communications that do not block nowhere else. */
#include "runtime/flows.h"
#include <simgrid/s4u.hpp>
#include <simgrid/version.h>
#include <cmath>
#include <string>
#include <vector>

namespace s4u = simgrid::s4u;

static s4u::Host *host(int gpu)
{
	return s4u::Host::by_name("CUDA" + std::to_string(gpu));
}

int flows_run(const struct gpu_flow *flows, int count)
{
	try {
		std::vector<s4u::CommPtr> comms;
		for (int i = 0; i < count; i++)
			comms.push_back(s4u::Comm::sendto_async(
				host(flows[i].from), host(flows[i].to), static_cast<uint64_t>(std::ceil(flows[i].bytes))));
		s4u::Comm::wait_all(comms);
	} catch (const simgrid::ForcefulKillException &) {
		throw; /* how SimGrid ends an actor */
	} catch (const std::exception &) {
		return -1;
	}
	return 0;
}

/* Made by flows_start, not when first used: making them lets other workers run meanwhile. */
static s4u::MutexPtr mutex;
static s4u::ConditionVariablePtr changed;
static int running;

void flows_start(void)
{
	mutex = s4u::Mutex::create();
	changed = s4u::ConditionVariable::create();
	running = 0;
}

void flows_compute(double alone_s, double busy_s, int workers)
{
	std::unique_lock<s4u::Mutex> lock(*mutex);
	running++;
	changed->notify_all();
	for (double left = 1; left > 1e-6;) {
		double company = workers > 1 ? std::fmin(1, (running - 1.0) / (workers - 1)) : 0;
		double whole = alone_s + company * (busy_s - alone_s), begin = s4u::Engine::get_clock();
		if (whole <= 0)
			break;
		changed->wait_for(lock, left * whole);
		left -= (s4u::Engine::get_clock() - begin) / whole;
	}
	running--;
	changed->notify_all();
}

double flows_now(void)
{
	return s4u::Engine::get_clock();
}

void flows_sleep(double seconds)
{
	if (seconds > 0)
		s4u::this_actor::sleep_for(seconds);
}

extern "C" const char *flows_version(void)
{
	static const std::string text = [] {
		int major, minor, patch;
		sg_version_get(&major, &minor, &patch);
		return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
	}();
	return text.c_str();
}
