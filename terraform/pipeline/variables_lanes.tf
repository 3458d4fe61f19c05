# Lanes, and the pictures that they make: the settings that are objects within objects.

variable "lanes" {
  description = "Each lane has a queue and either a processor that works on it or a target of your own in its place. Objects go to the lane whose prefixes or content_types they match, else to default. A lane's key never changes. renditions are the pipeline's unless the lane has its own. kind says which files are opened beside images and PDFs (docs/kinds.md). What comes is worked on delay_seconds after its upload or, with delays, when its metadata process-after says."
  # From the tutorial: 10 tasks a second, 100 at once, 3 attempts, 2 s to 300 s; 2 GiB, 2 CPU, 20
  # instances. Its 50 requests an instance become 8, because 2 CPU run 8 threads.
  # From the project built from it: 100 MB a file, 5 minutes of work. The function has 30 s more, to
  # record a file that took too long, and the queue waits 30 s longer than that for the answer.
  # 50 million pixels let photos of 48-megapixel phones in, below the 89 million at which Pillow
  # suspects an attack. 16 doublings are Google's default: up to the maximum.
  type = map(object({
    content_types = optional(set(string), [])
    delay_seconds = optional(number, 0)
    delays        = optional(bool, false)
    kind          = optional(string, "default")
    prefixes      = optional(set(string), [])

    processor = optional(object({
      concurrency     = optional(number, 8)
      cpu             = optional(number, 2)
      max_file_bytes  = optional(number, 104857600)
      max_instances   = optional(number, 20)
      max_pixels      = optional(number, 50000000)
      memory_mib      = optional(number, 2048)
      min_instances   = optional(number, 0)
      timeout_seconds = optional(number, 330)
      work_seconds    = optional(number, 300)
    }), {})

    queue = optional(object({
      dispatch_deadline_seconds = optional(number, 360)
      max_attempts              = optional(number, 3)
      max_backoff_seconds       = optional(number, 300)
      max_concurrent_dispatches = optional(number, 100)
      max_dispatches_per_second = optional(number, 10)
      max_doublings             = optional(number, 16)
      min_backoff_seconds       = optional(number, 2)
      paused                    = optional(bool, false)
    }), {})

    renditions = optional(map(object({
      fit     = optional(string, "inside")
      format  = optional(string, "jpeg")
      height  = optional(number, 300)
      quality = optional(number, 85)
      width   = optional(number, 300)
    })))

    target = optional(object({
      account  = optional(string)
      audience = string
      records  = optional(bool, true)
      url      = string
    }))
  }))
  nullable = false
  default  = { default = {} }

  validation {
    condition     = alltrue([for lane in keys(var.lanes) : can(regex("^[a-z]([a-z0-9-]{0,21}[a-z0-9])?$", lane))])
    error_message = "lanes has the keys ${join(", ", keys(var.lanes))}; each has 1 to 23 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }

  validation {
    condition     = contains(keys(var.lanes), "default")
    error_message = "lanes has the keys ${join(", ", keys(var.lanes))}, but no default, which takes what matches no other lane."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : contains(local.kinds, lane.kind)])
    error_message = "A lane's kind must be one of ${join(", ", local.kinds)}; it is ${join(", ", [for name, lane in var.lanes : "${lane.kind} in ${name}"])}."
  }

  validation {
    condition     = alltrue([for name, lane in var.lanes : (name == "default") == (length(lane.prefixes) + length(lane.content_types) == 0)])
    error_message = "Every lane but default names prefixes or content_types, or no object would come to it; default names none, since it takes what is left."
  }

  validation {
    condition     = alltrue(flatten([for lane in values(var.lanes) : [for type in lane.content_types : can(regex("^[a-z0-9.+_-]+/([a-z0-9.+_-]+|\\*)$", type))]]))
    error_message = "A lane's content_types are written type/subtype or type/*, in lower case, or no object matches; they are ${join(", ", flatten([for lane in values(var.lanes) : tolist(lane.content_types)]))}."
  }

  validation {
    condition     = !anytrue(flatten([for lane in values(var.lanes) : [for prefix in lane.prefixes : startswith(prefix, "gs://")]]))
    error_message = "A lane's prefixes are what an object's name begins with, such as scans/, without gs:// and the bucket; they are ${join(", ", flatten([for lane in values(var.lanes) : tolist(lane.prefixes)]))}."
  }

  validation {
    condition = alltrue(flatten([for lane in values(var.lanes) : [for prefix in lane.prefixes :
      (length(var.include_prefixes) == 0 || anytrue([for included in var.include_prefixes : startswith(prefix, included) || startswith(included, prefix)]))
      && !anytrue([for excluded in var.exclude_prefixes : startswith(prefix, excluded)])
    ]]))
    error_message = "A lane's prefixes lie within include_prefixes and outside exclude_prefixes, or no object comes to it; they are ${join(", ", flatten([for lane in values(var.lanes) : tolist(lane.prefixes)]))}."
  }

  validation {
    condition = alltrue([for named in [
      flatten([for lane in values(var.lanes) : tolist(lane.prefixes)]),
      flatten([for lane in values(var.lanes) : tolist(lane.content_types)]),
    ] : length(named) == length(distinct(named))])
    error_message = "Each prefix and content type stands in one lane only; they are ${join(", ", [for name, lane in var.lanes : "${join(" and ", concat(tolist(lane.prefixes), tolist(lane.content_types)))} in ${name}" if name != "default"])}."
  }

  # Cloud Tasks deletes a task 31 days after its creation: a day less, and the time that it is tried.
  validation {
    condition = alltrue([for lane in values(var.lanes) :
      lane.delay_seconds >= 0 && floor(lane.delay_seconds) == lane.delay_seconds && lane.delay_seconds <= local.max_delay_seconds && (!lane.delays || local.max_delay_seconds > 0)
    ])
    error_message = "A lane can delay up to 30 − retry_days days, ${local.max_delay_seconds} s, in whole seconds; delay_seconds is ${join(", ", [for name, lane in var.lanes : "${lane.delay_seconds} in ${name}"])}."
  }

  validation {
    condition     = alltrue([for name, lane in var.lanes : !contains(keys(var.lanes), "${name}-later") if lane.delays || lane.delay_seconds > 0])
    error_message = "A lane with delays has a second queue, called ${join(", ", [for name, lane in var.lanes : "${name}-later" if lane.delays || lane.delay_seconds > 0])}; give the lane of that name another one."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : lane.queue.max_attempts >= 1 && lane.queue.max_attempts <= 100])
    error_message = "A lane's queue.max_attempts must be 1 to 100; it is ${join(", ", [for name, lane in var.lanes : "${lane.queue.max_attempts} in ${name}"])}."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : lane.queue.dispatch_deadline_seconds >= 15 && lane.queue.dispatch_deadline_seconds <= 1800])
    error_message = "A lane's queue.dispatch_deadline_seconds must be 15 to 1800, as Cloud Tasks has it; it is ${join(", ", [for name, lane in var.lanes : "${lane.queue.dispatch_deadline_seconds} in ${name}"])}."
  }

  validation {
    condition = alltrue([for lane in values(var.lanes) :
      lane.processor.work_seconds < lane.processor.timeout_seconds && lane.processor.timeout_seconds < lane.queue.dispatch_deadline_seconds if lane.target == null
    ])
    error_message = "processor.work_seconds < processor.timeout_seconds < queue.dispatch_deadline_seconds in each lane, so that a file that takes too long is recorded in time; they are ${join(", ", [for name, lane in var.lanes : "${lane.processor.work_seconds}, ${lane.processor.timeout_seconds}, ${lane.queue.dispatch_deadline_seconds} in ${name}"])}."
  }

  validation {
    condition = alltrue([for lane in values(var.lanes) :
      lane.queue.max_concurrent_dispatches * (lane.delays || lane.delay_seconds > 0 ? 2 : 1) <= floor(0.9 * lane.processor.max_instances * lane.processor.concurrency) if lane.target == null
    ])
    error_message = "A lane's queue.max_concurrent_dispatches must be at most 90 % of processor.max_instances × concurrency, or instances answer 429, and with delays there are two such queues; ${join(", ", [for name, lane in var.lanes : "${name} has ${lane.queue.max_concurrent_dispatches * (lane.delays || lane.delay_seconds > 0 ? 2 : 1)} and takes ${floor(0.9 * lane.processor.max_instances * lane.processor.concurrency)}"])}."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : lane.processor.concurrency <= ceil(lane.processor.cpu * 4) if lane.target == null])
    error_message = "A lane's processor.concurrency must be at most 4 × cpu, the threads that serve it; it is ${join(", ", [for name, lane in var.lanes : "${lane.processor.concurrency} with ${lane.processor.cpu} CPU in ${name}"])}."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : can(regex("^https://[^/ ]+(/[^ ]*)?$", lane.target.url)) && length(lane.target.url) <= 2083 if lane.target != null])
    error_message = "A lane's target.url must be an https:// address of at most 2083 characters; it is ${join(", ", [for name, lane in var.lanes : "${lane.target.url} in ${name}" if lane.target != null])}."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : lane.target.audience != "" if lane.target != null])
    error_message = "A lane's target.audience is empty; it is what the service expects in its callers' tokens, mostly its own address."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : lane.target.account != null || !lane.target.records if lane.target != null])
    error_message = "A lane's target names the account that may read uploads and create results, or sets records = false: then its objects are handed over, and whether they are done is not known here."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : can(regex("^(serviceAccount|user|group):[^@ ]+@[^@ ]+$", lane.target.account)) if lane.target == null ? false : lane.target.account != null])
    error_message = "A lane's target.account must be an IAM member such as serviceAccount:name@project.iam.gserviceaccount.com; it is ${join(", ", [for name, lane in var.lanes : "${lane.target.account} in ${name}" if lane.target == null ? false : lane.target.account != null])}."
  }
}

variable "renditions" {
  description = "The pictures made of an image, by name: a box of width × height pixels that it is fitted inside or covers, the format (jpeg, png, webp or avif), and the quality of 1 to 100. A lane may have its own, and one whose kind is media videos (mp4 or webm) among them."
  # The tutorial's: 300 × 300, JPEG, quality 85.
  type = map(object({
    fit     = optional(string, "inside")
    format  = optional(string, "jpeg")
    height  = optional(number, 300)
    quality = optional(number, 85)
    width   = optional(number, 300)
  }))
  nullable = false
  default  = { thumbnail = {} }

  validation {
    condition     = alltrue([for name in concat(keys(var.renditions), flatten([for lane in values(var.lanes) : keys(lane.renditions) if lane.renditions != null])) : can(regex("^[a-z][a-z0-9_-]{0,31}$", name))])
    error_message = "renditions has the names ${join(", ", keys(merge(var.renditions, local.lane_renditions)))}; each has 1 to 32 lower-case letters, digits, hyphens and underscores and begins with a letter, since files are named by it."
  }

  validation {
    condition     = !anytrue([for name in concat(keys(var.renditions), keys(local.lane_renditions)) : contains(local.own_outputs, reverse(split(".", name))[0])])
    error_message = "renditions has the names ${join(", ", concat(keys(var.renditions), keys(local.lane_renditions)))}; ${join(" and ", local.own_outputs)} are what other outputs are called. Choose another name."
  }

  validation {
    condition     = alltrue([for rendition in values(merge(var.renditions, local.lane_renditions)) : contains(["inside", "cover"], rendition.fit)])
    error_message = "A rendition's fit must be inside or cover; it is ${join(", ", [for name, rendition in merge(var.renditions, local.lane_renditions) : "${rendition.fit} in ${name}"])}."
  }

  validation {
    condition = alltrue(concat(
      [for rendition in values(var.renditions) : contains(local.rendition_formats, rendition.format)],
      flatten([for lane in values(var.lanes) : [for rendition in values(lane.renditions) :
        contains(concat(local.rendition_formats, lane.kind == "media" ? local.video_formats : []), rendition.format)
      ] if lane.renditions != null]),
    ))
    error_message = "A rendition's format must be one of ${join(", ", local.rendition_formats)}, or in a lane whose kind is media ${join(" or ", local.video_formats)}; it is ${join(", ", [for name, rendition in merge(var.renditions, local.lane_renditions) : "${rendition.format} in ${name}"])}."
  }

  validation {
    condition = alltrue(flatten([for rendition in values(merge(var.renditions, local.lane_renditions)) :
      [for side in [rendition.width, rendition.height] : side >= 1 && side <= 8192 && floor(side) == side]
    ]))
    error_message = "A rendition's width and height must be whole numbers from 1 to 8192; they are ${join(", ", [for name, rendition in merge(var.renditions, local.lane_renditions) : "${rendition.width} × ${rendition.height} in ${name}"])}."
  }

  validation {
    condition     = alltrue([for rendition in values(merge(var.renditions, local.lane_renditions)) : rendition.quality >= 1 && rendition.quality <= 100])
    error_message = "A rendition's quality must be 1 to 100; it is ${join(", ", [for name, rendition in merge(var.renditions, local.lane_renditions) : "${rendition.quality} in ${name}"])}."
  }
}
