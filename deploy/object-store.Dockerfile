# SeaweedFS as it comes, with a folder that an unprivileged user may write to: a new volume takes over its owner.
FROM chrislusf/seaweedfs:4.48

USER root
RUN mkdir /objects && chown 10001:10001 /objects
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT []
