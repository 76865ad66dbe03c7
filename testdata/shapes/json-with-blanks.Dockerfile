FROM alpine
COPY [ "my file.txt", "other file.txt", "/data with blanks/" ]
VOLUME [ "/data with blanks" , "/var/log" ]
SHELL [ "/bin/sh" , "-eo" , "pipefail" , "-c" ]
RUN ["/bin/echo", "a\tb", "\u00e9"]
CMD [ ]
